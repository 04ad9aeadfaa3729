"""The training data of the reference model: labelled pairs of mMARCO-fr, with negatives that retrievers found.

The recipe is that of the model's author (https://github.com/maastrichtlawtech/fusion, `src/data/mmarco.py`): go through
`msmarco-hard-negatives.jsonl`, take one pair of each query, a positive and a negative in turns, and go through it again
with new draws until there are enough.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from fr_reranker_plugin.collections.lines import malformed
from fr_reranker_plugin.errors import CollectionError, SettingsError
from fr_reranker_plugin.scoring.settings import check_whole_number
from fr_reranker_plugin.training.example_counts import ExampleCounts
from fr_reranker_plugin.training.examples import TrainingExample
from fr_reranker_plugin.training.false_negatives import KnownPositives
from fr_reranker_plugin.training.hard_negatives import FoundPassages, read_hard_negatives
from fr_reranker_plugin.training.mmarco_files import MmarcoFiles, OpenedMmarco

RECIPE_PAIRS: Final = 20_000 * 128
"""As many pairs as the reference model was trained on, each seen once: its steps times its batch."""

Drawn = list[tuple[int, str, float]]
"""Id and text of passages that were taken, with their labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MmarcoRecipe:
    """What is drawn; the defaults are the reference model's.

    :param pairs: How many (query, passage) pairs. Grouped ones may be a few more, since groups are whole.
    :param negatives_per_positive: The ratio.
    :param systems: Whose negatives: names of the file, or `"dense"` for all but BM25. None: all.
    :param margin: A negative's teacher score is at least this much below the lowest of the query's positives.
    :param seed: Of the draws. Equal files, recipes and seeds give equal examples.
    :param grouped: A positive and its negatives in one example, as listwise losses need them, rather than a pair a
        query.
    :raises SettingsError: If a value is not allowed.
    """

    pairs: int = RECIPE_PAIRS
    negatives_per_positive: int = 1
    systems: tuple[str, ...] = ()
    margin: float = 3.0
    seed: int = 42
    grouped: bool = False

    def __post_init__(self) -> None:
        check_whole_number("pairs", self.pairs)
        check_whole_number("negatives_per_positive", self.negatives_per_positive)
        if not self.margin >= 0:
            raise SettingsError(f"margin must be 0 or more, got {self.margin}")


@dataclass(slots=True)
class MmarcoCounts(ExampleCounts):
    """What came of it; `left_out` are draws that gave nothing.

    :param passes: How often the file was gone through, the last time perhaps in part.
    """

    passes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Give the numbers by name."""
        return {**ExampleCounts.to_dict(self), "passes": self.passes}


def mmarco_examples(opened: OpenedMmarco, recipe: MmarcoRecipe, counts: MmarcoCounts) -> Iterator[TrainingExample]:
    """Yield examples until there are enough pairs, holding one at a time.

    Within one pass through the file no (query, passage) pair comes twice; a later pass may draw a pair again. Labels
    are 1 and 0. Where teacher scores are given, examples carry them, and a query whose positives the teacher has not
    all read is left out, as are negatives that it has not read. Without them nothing but identity tells a wrong
    negative: one that is judged positive, or whose text equals or contains a positive's.

    :param counts: Filled while examples are drawn.
    :raises CollectionError: If a file is malformed, an id is unknown, or a whole pass gives no example.
    :raises SettingsError: If a chosen system is not in the file.
    """
    empty_passes = 0
    while counts.pairs < recipe.pairs:
        counts.passes += 1
        before = counts.pairs
        yield from _Pass(opened, recipe, counts).examples()
        empty_passes = empty_passes + 1 if counts.pairs == before else 0
        if empty_passes > (0 if recipe.grouped else recipe.negatives_per_positive):  # a pass may skip as many lines
            raise CollectionError(_exhausted(opened.files, counts))


def _exhausted(files: MmarcoFiles, counts: MmarcoCounts) -> str:
    reasons = ", ".join(f"{reason}: {count}" for reason, count in counts.left_out.items()) or "it has no lines"
    found = f"expected more pairs than {counts.pairs:,}, found none in a whole pass ({reasons})"
    return f"{files.hard_negatives}: {found}; lower the margin, choose more systems or ask for fewer"


class _Pass:
    """One time through the file of hard negatives."""

    def __init__(self, opened: OpenedMmarco, recipe: MmarcoRecipe, counts: MmarcoCounts) -> None:
        self._opened = opened
        self._recipe = recipe
        self._counts = counts
        self._random = random.Random(f"{recipe.seed} {counts.passes}")  # noqa: S311 -- not a secret
        self._drawn: set[bytes] = set()

    def examples(self) -> Iterator[TrainingExample]:
        for line in islice(read_hard_negatives(self._opened.files.hard_negatives), self._skipped(), None):
            if self._counts.pairs >= self._recipe.pairs:
                return
            drawn = self._example(line)
            if isinstance(drawn, str):
                self._counts.left_out[drawn] += 1
            else:
                self._counts.add(drawn)
                yield drawn

    def _skipped(self) -> int:
        """Tell how many first lines to skip, so that a query which gave a positive gives a negative in the next pass.

        Otherwise half of the queries would give the same positive in every pass whenever a pass makes an even number of
        pairs.
        """
        wanted = self._counts.passes - 1
        return 0 if self._recipe.grouped else (self._counts.pairs - wanted) % (self._recipe.negatives_per_positive + 1)

    def _example(self, line: FoundPassages) -> TrainingExample | str:
        """Draw an example, or give the reason why there is none."""
        scores = self._opened.scores_of(line.query)
        if scores is not None and any(one not in scores for one in line.positives):
            return "positives that the teacher has not read"
        drawn = self._group(line, scores) if self._recipe.grouped else self._pair(line, scores)
        if drawn is None:
            return "no negative that is far enough from the positives"
        query = self._query(line)
        if not self._are_new(query, drawn):
            return "drawn before in the same pass"
        ids, passages, labels = zip(*drawn, strict=True)
        return TrainingExample(query, passages, labels, None if scores is None else tuple(scores[one] for one in ids))

    def _pair(self, line: FoundPassages, scores: Mapping[int, float] | None) -> Drawn | None:
        """Draw a positive or a negative, whichever is due."""
        if self._counts.pairs % (self._recipe.negatives_per_positive + 1) == 0:
            return self._positive(line)
        return list(islice(self._negatives(line, scores), 1)) or None

    def _group(self, line: FoundPassages, scores: Mapping[int, float] | None) -> Drawn | None:
        wanted = self._recipe.negatives_per_positive
        positive = self._positive(line)
        negatives = list(islice(self._negatives(line, scores), wanted))
        return [*positive, *negatives] if len(negatives) == wanted else None

    def _positive(self, line: FoundPassages) -> Drawn:
        chosen = self._random.choice(line.positives)
        return [(chosen, self._passage(line, chosen), 1.0)]

    def _negatives(self, line: FoundPassages, scores: Mapping[int, float] | None) -> Iterator[tuple[int, str, float]]:
        """Yield what may be a negative, in random order, each once."""
        allowed = line.negatives(self._recipe.systems) - self._opened.judged_positives(line.query)
        if scores is not None:
            highest = min(scores[one] for one in line.positives) - self._recipe.margin
            allowed = {one for one in allowed if one in scores and scores[one] <= highest}
        left = sorted(allowed)
        known = KnownPositives(self._passage(line, one) for one in line.positives)
        taken: set[str] = set()
        while left:
            chosen = left.pop(self._random.randrange(len(left)))
            text = self._passage(line, chosen)
            if text not in taken and not known.hide(text):
                taken.add(text)
                yield chosen, text, 0.0

    def _query(self, line: FoundPassages) -> str:
        return _text(self._opened.queries.get(line.query), f"a query of {self._opened.files.queries}", line, line.query)

    def _passage(self, line: FoundPassages, identifier: int) -> str:
        text = self._opened.passages.get(identifier)
        return _text(text, f"a passage of {self._opened.files.collection}", line, identifier)

    def _are_new(self, query: str, drawn: Drawn) -> bool:
        """Tell whether none of the pairs was drawn in this pass, and remember them."""
        pairs = {hashlib.blake2b(f"{query}\n{text}".encode(), digest_size=8).digest() for _, text, _ in drawn}
        if len(pairs) < len(drawn) or not pairs.isdisjoint(self._drawn):
            return False
        self._drawn |= pairs
        return True


def _text(text: str | None, expected: str, line: FoundPassages, identifier: int) -> str:
    if text is None or not text.strip():
        found = f"the id {identifier}, which is not there" if text is None else f"the id {identifier}, without text"
        raise malformed(line.path, line.line, expected, found)
    return text


def systems_of(names: Sequence[str]) -> tuple[str, ...]:
    """Give the systems of names that may be joined with commas."""
    return tuple(name.strip() for joined in names for name in joined.split(",") if name.strip())
