"""Hard negatives from our own first stage: passages that look like answers and, as far as one can tell, are none."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.retrieval.document_index import SearchMethod
from fr_reranker_plugin.retrieval.documents import StoredDocument
from fr_reranker_plugin.retrieval.encoding_stream import in_blocks
from fr_reranker_plugin.scoring.settings import check_whole_number
from fr_reranker_plugin.training.example_counts import ExampleCounts
from fr_reranker_plugin.training.examples import TrainingExample
from fr_reranker_plugin.training.false_negatives import KnownPositives, folded
from fr_reranker_plugin.training.mining_corpus import Corpus, Judge

_EXAMPLES_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningSettings:
    """Which passages become negatives.

    :param methods: Which rankings: `"dense"`, `"bm25"`, `"hybrid"`, or several, whose windows are put together.
    :param rank_from: First rank of the window, from 1. The very first ranks hold most answers that nobody marked.
    :param rank_to: Its last rank.
    :param negatives: How many are added to each example at most, drawn from the window.
    :param margin: A negative's score is at least this much below the lowest of the example's positives; in logits of a
        teacher, else in cosines. `None`: scores do not matter.
    :param seed: Of the draws.
    :raises SettingsError: If a value is not allowed.
    """

    methods: tuple[SearchMethod, ...] = ("dense",)
    rank_from: int = 5
    rank_to: int = 50
    negatives: int = 4
    margin: float | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        known = get_args(SearchMethod)
        if not self.methods or not set(self.methods) <= set(known):
            raise SettingsError(
                f"expected first stages among {', '.join(known)}, got {', '.join(self.methods) or 'none'}"
            )
        check_whole_number("negatives", self.negatives, at_least=0)
        check_whole_number("rank_from", self.rank_from)
        check_whole_number("rank_to", self.rank_to, at_least=self.rank_from)
        if self.margin is not None and not self.margin >= 0:
            raise SettingsError(f"margin must be 0 or more, got {self.margin}")


@dataclass(slots=True)
class MinedQueries:
    """What the examples say about queries, gathered before mining.

    :param positives: The positives of each query over all examples, by the folded query: none of them is a negative of
        another example.
    :param passages: Every distinct passage, in order.
    """

    positives: dict[str, list[str]] = field(default_factory=dict)
    passages: dict[str, None] = field(default_factory=dict)

    @classmethod
    def of(cls, examples: Iterable[TrainingExample]) -> MinedQueries:
        """Gather it from examples, which are read once."""
        gathered = cls()
        for example in examples:
            gathered.positives.setdefault(folded(example.query), []).extend(example.positives)
            gathered.passages.update(dict.fromkeys(example.passages))
        return gathered

    def documents(self) -> Iterator[StoredDocument]:
        """Yield the passages as a corpus."""
        for number, text in enumerate(self.passages):
            yield StoredDocument(str(number), text)


class Miner:
    """Adds hard negatives to examples.

    A passage that equals or contains a known positive of the query, or is mostly a piece of one, or that the
    example has already, is never added.

    :param corpus: What is searched; `None` if no negatives are asked for.
    :param queries: What is known of the queries.
    :param judge: Scores pairs where there is a margin, or where `keeps_scores`.
    :param keeps_scores: Write the judge's scores into the examples: it is a teacher.
    :raises SettingsError: If there is a margin and nobody to judge.
    """

    def __init__(
        self,
        settings: MiningSettings,
        queries: MinedQueries,
        corpus: Corpus | None,
        *,
        judge: Judge | None = None,
        keeps_scores: bool = False,
    ) -> None:
        if settings.margin is not None and judge is None:
            raise SettingsError("a margin needs scores: name a teacher, or search by meaning (dense)")
        self._settings, self._queries, self._corpus = settings, queries, corpus
        self._judge, self._keeps_scores = judge, keeps_scores

    def mined(self, examples: Iterable[TrainingExample], counts: ExampleCounts) -> Iterator[TrainingExample]:
        """Yield examples with negatives added, holding a few at a time; one without positives stays as it is.

        :param counts: Filled while examples are made.
        """
        number = 0
        for block in in_blocks(examples, _EXAMPLES_AT_ONCE):
            ids: dict[str, str] = {}
            windows = self._windows([example.query for example in block], ids)
            drafts = [
                self._shuffled(example, window, number + place)
                for place, (example, window) in enumerate(zip(block, windows, strict=True))
            ]
            number += len(block)
            for example in self._finished(block, drafts, ids, counts):
                counts.add(example)
                yield example

    def _windows(self, queries: Sequence[str], ids: dict[str, str]) -> list[list[str]]:
        """Give the texts of each query's window, and note their ids."""
        windows: list[list[str]] = [[] for _ in queries]
        if self._corpus is None or not self._settings.negatives:
            return windows
        for method in self._settings.methods:
            found = self._corpus.search_many(queries, self._settings.rank_to, method=method)
            for window, hits in zip(windows, found, strict=True):
                inside = [hit.document for hit in hits[self._settings.rank_from - 1 :]]
                ids.update((document.text, document.id) for document in inside)
                window += [document.text for document in inside]
        return [list(dict.fromkeys(window)) for window in windows]

    def _shuffled(self, example: TrainingExample, window: Sequence[str], number: int) -> list[str]:
        """Give what may be a negative of an example, in random order."""
        if not example.positives:
            return []
        known = KnownPositives(self._queries.positives.get(folded(example.query), example.positives))
        left = [text for text in window if text.strip() and text not in example.passages and not known.hide(text)]
        random.Random(f"{self._settings.seed} {number}").shuffle(left)  # noqa: S311 -- not a secret
        return left if self._settings.margin is not None else left[: self._settings.negatives]

    def _finished(
        self,
        block: Sequence[TrainingExample],
        drafts: Sequence[Sequence[str]],
        ids: Mapping[str, str],
        counts: ExampleCounts,
    ) -> Iterator[TrainingExample]:
        scores = self._scores(block, drafts, ids)
        for example, draft in zip(block, drafts, strict=True):
            said = {text: next(scores) for text in (*example.passages, *draft)} if scores is not None else {}
            chosen = self._chosen(example, draft, said)
            if not example.positives:
                counts.left_out["examples without a positive, nothing added"] += 1
            elif len(chosen) < self._settings.negatives:
                counts.left_out["examples with fewer negatives than asked for"] += 1
            if self._keeps_scores:
                yield example.with_negatives(chosen, [said[text] for text in (*example.passages, *chosen)])
            else:
                yield example.with_negatives(chosen) if chosen else example

    def _scores(
        self, block: Sequence[TrainingExample], drafts: Sequence[Sequence[str]], ids: Mapping[str, str]
    ) -> Iterator[float] | None:
        """Give a score for each passage and draft of each example, one after the other."""
        if self._judge is None or not (self._keeps_scores or self._settings.margin is not None):
            return None
        pairs = [
            (example.query, text)
            for example, draft in zip(block, drafts, strict=True)
            for text in (*example.passages, *draft)
        ]
        return iter(self._judge(pairs, ids))

    def _chosen(self, example: TrainingExample, draft: Sequence[str], said: Mapping[str, float]) -> list[str]:
        if self._settings.margin is not None and draft:
            highest = min(said[text] for text in example.positives) - self._settings.margin
            draft = [text for text in draft if said[text] <= highest]
        return list(draft[: self._settings.negatives])
