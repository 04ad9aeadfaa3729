"""Examples as rows of an Arrow file: written in one pass, read from the disk as they are needed."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fr_reranker_plugin.errors import CollectionError
from fr_reranker_plugin.retrieval.durable_files import replace_file
from fr_reranker_plugin.training.examples import TrainingExample
from fr_reranker_plugin.training.false_negatives import folded
from fr_reranker_plugin.training.losses import LOSS_KINDS, LossKind
from fr_reranker_plugin.training.recipes import LossName

if TYPE_CHECKING:
    from datasets import Dataset

_FACTS: Final = ".json"
_ROWS_AT_ONCE: Final = 10_000
_LEVELS_KNOWN: Final = ("bce", "listnet", "kl")


@dataclass(slots=True, kw_only=True)
class RowFacts:
    """What a pass over the examples found.

    :param examples: Questions that were read.
    :param left_out: Questions that teach nothing: all of their passages are labelled alike, or there is one only.
    :param rows: What a loss reads at once: pairs, or questions.
    :param pairs: Pairs of a question and a passage in the rows.
    :param positives: Pairs with a label above 0.
    :param negatives: Pairs with the label 0.
    :param no_skill: The loss of a model that tells no passage from another; `None` where that is not known.
    :param floor: The lowest loss that is possible.
    """

    examples: int = 0
    left_out: int = 0
    rows: int = 0
    pairs: int = 0
    positives: int = 0
    negatives: int = 0
    no_skill: float | None = None
    floor: float | None = None


def prepared_rows(examples: Iterable[TrainingExample], path: Path, loss: LossName) -> tuple[Dataset, RowFacts]:
    """Write the examples as rows, unless an earlier run has written them, and open the rows.

    Memory does not grow with their number: rows lie on the disk.

    :param path: The file; what was found of it stands beside it.
    :raises CollectionError: If there is nothing to learn from: no examples, passages that are all labelled alike, no
        question with passages to tell apart for a listwise loss, or no scores.
    """
    from datasets import Dataset

    known = path.with_suffix(_FACTS)
    if not known.is_file():
        facts = _write(examples, path, loss)
        replace_file(known, json.dumps(asdict(facts)).encode())
    facts = RowFacts(**json.loads(known.read_text(encoding="utf-8")))
    return Dataset.from_file(str(path)), facts


def count_taught(rows: Dataset, questions: Iterable[str]) -> int:
    """Tell how many of these questions are also in the rows, without regard to case, spaces and the form of accents."""
    asked = Counter(map(folded, questions))
    if not asked:
        return 0
    blocks = rows.select_columns("query").iter(batch_size=_ROWS_AT_ONCE)
    taught = {query for block in blocks for query in map(folded, set(block["query"])) if query in asked}
    return sum(asked[query] for query in taught)


def _write(examples: Iterable[TrainingExample], path: Path, loss: LossName) -> RowFacts:
    from datasets import Features, List, Value
    from datasets.arrow_writer import ArrowWriter

    kind = LOSS_KINDS[loss]
    text, number = Value("string"), Value("float32")
    columns: dict[str, Any] = (
        {"query": text, "passage": text, "label": number}
        if kind.form == "pairs"
        else {"query": text, "passages": List(text), "labels": List(number)}
    )
    facts, levels = RowFacts(), _Levels()
    with ArrowWriter(path=str(path), features=Features(columns)) as writer:
        for example in examples:
            for row in _rows(example, kind, facts):
                writer.write(row)
                levels.add(row)
        _check(facts, levels, loss)
        writer.finalize()
    if loss in _LEVELS_KNOWN:
        facts.no_skill, facts.floor = levels.of_pairs() if kind.form == "pairs" else levels.of_lists()
    return facts


def _rows(example: TrainingExample, kind: LossKind, facts: RowFacts) -> Iterator[dict[str, Any]]:
    facts.examples += 1
    target = example.labels if kind.target == "labels" else example.scores
    if target is None:
        raise CollectionError(
            f"the question {example.query!r} has no 'scores' of a teacher, which this loss learns from; "
            "add them to every example, or choose the loss bce, listnet or lambda"
        )
    if kind.form == "lists" and len(set(target)) == 1:
        facts.left_out += 1
        return
    facts.pairs += len(example.passages)
    facts.positives += sum(label > 0 for label in example.labels)
    facts.negatives += sum(label == 0 for label in example.labels)
    if kind.form == "lists":
        facts.rows += 1
        yield {"query": example.query, "passages": list(example.passages), "labels": list(target)}
        return
    facts.rows += len(example.passages)
    for passage, value in zip(example.passages, target, strict=True):
        yield {"query": example.query, "passage": passage, "label": value}


def _check(facts: RowFacts, levels: _Levels, loss: LossName) -> None:
    kind = LOSS_KINDS[loss]
    if not facts.examples:
        raise CollectionError("the data files hold no example")
    if not facts.rows:
        raise CollectionError(
            f"none of {facts.examples} questions has passages with different {kind.target}, and the loss {loss} "
            "compares the passages of one question: put a question's answer and what does not answer into one example "
            "('fr-reranker train-data mine', or 'mmarco --grouped'), or learn from single pairs with --loss "
            f"{'bce' if kind.target == 'labels' else 'mse'}"
        )
    if kind == LossKind("pairs", "labels") and levels.lowest == levels.highest:
        missing, answer, wanted = (
            ("negatives", "yes", "not answer, with 'fr-reranker train-data mine'")
            if levels.highest
            else ("positives", "no", "answer")
        )
        raise CollectionError(
            f"there are no {missing} in {facts.examples} examples: every passage has the label {levels.highest:g}, so "
            f"a model learns to say {answer} to everything; add passages that do {wanted}"
        )


class _Levels:
    """The range of the labels of pairs, and sums for the loss of a model that knows nothing, and for the lowest one."""

    def __init__(self) -> None:
        self.lowest, self.highest = math.inf, -math.inf
        self._count = 0
        self._labels = self._entropy = self._uniform = 0.0

    def add(self, row: dict[str, Any]) -> None:
        self._count += 1
        if "label" in row:
            self.lowest, self.highest = min(self.lowest, row["label"]), max(self.highest, row["label"])
            self._labels += row["label"]
            self._entropy += _entropy((row["label"], 1 - row["label"])) if 0 <= row["label"] <= 1 else 0.0
        else:
            self._uniform += math.log(len(row["labels"]))
            self._entropy += _entropy(_softmax(row["labels"]))

    def of_pairs(self) -> tuple[float, float]:
        """Give the entropy of the share of positives (ln 2 where that is a half), and the floor."""
        share = self._labels / self._count
        return _entropy((share, 1 - share)), self._entropy / self._count

    def of_lists(self) -> tuple[float, float]:
        """Give the mean ln of the lengths of the lists, and the floor."""
        return self._uniform / self._count, self._entropy / self._count


def _softmax(values: Iterable[float]) -> list[float]:
    highest = max(values := list(values))
    parts = [math.exp(value - highest) for value in values]
    return [part / sum(parts) for part in parts]


def _entropy(shares: Iterable[float]) -> float:
    return -sum(share * math.log(share) for share in shares if share > 0)
