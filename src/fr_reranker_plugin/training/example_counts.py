"""What came of making examples, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fr_reranker_plugin.training.examples import TrainingExample


@dataclass(slots=True)
class ExampleCounts:
    """How many there are, and what was left out.

    :param positives: Passages with a label above 0.
    :param negatives: Passages with the label 0.
    :param left_out: What gave nothing, by reason.
    """

    examples: int = 0
    positives: int = 0
    negatives: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def pairs(self) -> int:
        """How many (query, passage) pairs there are."""
        return self.positives + self.negatives

    def add(self, example: TrainingExample) -> None:
        """Count an example."""
        positives = sum(label > 0 for label in example.labels)
        self.examples += 1
        self.positives += positives
        self.negatives += len(example.labels) - positives

    def counted(self, examples: Iterable[TrainingExample]) -> Iterator[TrainingExample]:
        """Yield examples, and count them."""
        for example in examples:
            self.add(example)
            yield example

    def to_dict(self) -> dict[str, Any]:
        """Give the numbers by name."""
        return {
            "examples": self.examples,
            "pairs": self.pairs,
            "positives": self.positives,
            "negatives": self.negatives,
            "left_out": dict(self.left_out),
        }
