"""Dev questions: what tells during training whether the model ranks better."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Final

from fr_reranker_plugin.collections import JudgedCollection
from fr_reranker_plugin.collections.opening import files_fingerprint
from fr_reranker_plugin.errors import CollectionError, SettingsError, TrainingError
from fr_reranker_plugin.evaluation.first_stages import CandidateSource, FirstStages
from fr_reranker_plugin.evaluation.pools import neutral_order, pool_of
from fr_reranker_plugin.evaluation.progress import ShowProgress
from fr_reranker_plugin.evaluation.ranking_measures import ndcg, reciprocal_rank
from fr_reranker_plugin.retrieval.durable_files import replace_file
from fr_reranker_plugin.scoring.scorer import Pair
from fr_reranker_plugin.scoring.settings import check_whole_number
from fr_reranker_plugin.training.examples import read_examples
from fr_reranker_plugin.training.history import MEASURES

_DEPTH_OF_MEASURES: Final = 10
_RELEVANT_FROM: Final = 0.5


@dataclass(frozen=True, slots=True)
class DevQuestion:
    """A question, its candidates, and the grades of all passages that are judged.

    :param passages: Text by id; ties keep their order, which is that of the first stage, or favours none.
    :param grades: By id; may name passages that the first stage missed.
    """

    query: str
    passages: Mapping[str, str]
    grades: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DevSource:
    """Where dev questions come from: a judged collection with a first stage, or files of examples.

    :param collection: Judged questions; `None` takes `examples`.
    :param first_stage: What finds their candidates: one of `FirstStages`.
    :param depth: How many candidates of each question are ranked: the best ones. Of lists without scores, which nobody
        ranked, the relevant ones and some of the others.
    :param questions: How many questions are drawn at most.
    :param examples: Files as `read_examples` reads them, of questions that are not trained on.
    :raises SettingsError: If a value is not allowed, or both or none are given.
    """

    collection: JudgedCollection | None = None
    first_stage: FirstStages = field(default_factory=FirstStages)
    depth: int = 20
    questions: int = 100
    examples: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if (self.collection is None) == (not self.examples):
            raise SettingsError("dev questions come from a collection, or from files of examples: give one of the two")
        if len(self.first_stage.names) != 1:
            raise SettingsError(
                f"dev candidates come from one first stage, got {', '.join(self.first_stage.names) or 'none'}"
            )
        check_whole_number("depth", self.depth, at_least=2)
        check_whole_number("questions", self.questions)

    @property
    def name(self) -> str:
        """What reports call it."""
        if self.collection is None:
            return ", ".join(path.name for path in self.examples)
        return f"{self.collection.name}, {self.depth} candidates of {', '.join(self.first_stage.names)}"

    def identity(self) -> str:
        """Give a text that differs where other questions or candidates would be taken.

        :raises CollectionError: If a file is missing.
        """
        if self.collection is None:
            return f"{files_fingerprint(list(self.examples))} {self.questions}"
        [name] = self.first_stage.names
        found = self.first_stage.identity(name, self.depth) or name
        return f"{self.collection.fingerprint} {found} {self.depth} {self.questions}"

    def read(self, folder: Path, seed: int, show: ShowProgress) -> list[DevQuestion]:
        """Find the questions and candidates.

        :param folder: Where an index is built if the first stage needs one.
        :raises CollectionError: If there is no question with a relevant and another candidate.
        """
        if self.collection is None:
            found = _drawn(list(_of_examples(self.examples)), self.questions, seed)
        else:
            found = list(self._of_collection(self.collection.sample(self.questions, seed=seed), folder, show))
        if not any(_can_be_ranked(question) for question in found):
            raise CollectionError(f"{self.name}: no dev question has both a relevant candidate and another one")
        return found

    def _of_collection(self, collection: JudgedCollection, folder: Path, show: ShowProgress) -> Iterator[DevQuestion]:
        scores: dict[str, dict[str, float | None]] = {query: {} for query in collection.queries}
        [name] = self.first_stage.names
        with CandidateSource(collection, self.first_stage, folder, show) as source, show("dev candidates", None):
            for candidate in source.reader(name, self.depth)():
                if candidate.query in scores:
                    scores[candidate.query][candidate.passage] = candidate.score
        ranked = {query: _best_first(found, collection.qrels[query], self.depth) for query, found in scores.items()}
        wanted = {passage for passages in ranked.values() for passage in passages}
        texts = {name: passage.full_text for name, passage in collection.passages() if name in wanted}
        for query, text in collection.queries.items():
            passages = {name: texts[name] for name in ranked[query] if texts.get(name, "").strip()}
            yield DevQuestion(text, passages, dict(collection.qrels[query]))


def _best_first(candidates: Mapping[str, float | None], grades: Mapping[str, int], depth: int) -> list[str]:
    """Give the candidates that a model has to rank.

    :param candidates: Scores by id. Where one has none, nobody ranked them: their order then favours none.
    """
    scores = {name: score for name, score in candidates.items() if score is not None}
    if len(scores) == len(candidates):
        return sorted(scores, key=scores.__getitem__, reverse=True)[:depth]
    relevant = [name for name in candidates if grades.get(name, 0) > 0]
    return pool_of(neutral_order(list(candidates)), depth, relevant=relevant, protocol="pool")


def _drawn(questions: list[DevQuestion], count: int, seed: int) -> list[DevQuestion]:
    if count >= len(questions):
        return questions
    return random.Random(seed).sample(questions, count)  # noqa: S311 -- not a secret


def _of_examples(paths: Iterable[Path]) -> Iterator[DevQuestion]:
    """Read examples; what is relevant comes last, so that a model that cannot decide gains nothing."""
    for example in read_examples(paths):
        places = sorted(range(len(example.passages)), key=lambda place: example.labels[place])
        yield DevQuestion(
            example.query,
            {str(place): example.passages[place] for place in places},
            {str(place): int(example.labels[place] >= _RELEVANT_FROM) for place in places},
        )


def kept_dev_set(path: Path, read: Callable[[], list[DevQuestion]]) -> list[DevQuestion]:
    """Give the dev questions of a run: those that an earlier part of it kept, else new ones, which are kept."""
    if not path.is_file():
        replace_file(path, json.dumps([asdict(one) for one in read()], ensure_ascii=False).encode())
    return [DevQuestion(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def measure_dev(
    questions: Sequence[DevQuestion], score: Callable[[Sequence[Pair]], Sequence[float]]
) -> dict[str, float]:
    """Rank the candidates of each question by a model, and give the means of RR@10 and nDCG@10, 0..1.

    :param score: Gives a logit for each pair.
    :raises TrainingError: If a logit is not finite; sorting such logits would keep the order of the first stage.
    """
    pairs = [(one.query, passage) for one in questions for passage in one.passages.values()]
    logits = score(pairs)
    if wrong := [logit for logit in logits if not isfinite(logit)]:
        raise TrainingError(
            f"the model gives {wrong[0]} as the logit of a dev passage, and of {len(wrong)} of {len(logits)}; use a "
            "lower rate (--learning-rate), or look whether its weights were whole at the start"
        )
    left = iter(logits)
    rankings = [_ranking(one, [next(left) for _ in one.passages]) for one in questions]
    both = list(zip(rankings, questions, strict=True))
    values = (
        fmean(reciprocal_rank(ranking, one.grades, at=_DEPTH_OF_MEASURES) for ranking, one in both),
        fmean(ndcg(ranking, one.grades, at=_DEPTH_OF_MEASURES) for ranking, one in both),
    )
    return dict(zip(MEASURES, values, strict=True))


def _ranking(question: DevQuestion, logits: Sequence[float]) -> list[str]:
    names = list(question.passages)
    return [names[place] for place in sorted(range(len(names)), key=logits.__getitem__, reverse=True)]


def _can_be_ranked(question: DevQuestion) -> bool:
    grades = [question.grades.get(name, 0) > 0 for name in question.passages]
    return any(grades) and not all(grades)
