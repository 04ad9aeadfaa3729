"""What a queue is for: scoring pairs, or whatever else is asked of a model item by item."""

from __future__ import annotations

import math
from typing import Any, Protocol

from fr_reranker_plugin.errors import RerankerError
from fr_reranker_plugin.scoring.ranking import not_finite
from fr_reranker_plugin.scoring.scorer import Item, Pair


class Work(Protocol):
    """What the queue must know of the items that wait in it and of the answers that they get."""

    @property
    def items(self) -> str:
        """What the items are called in messages, in the plural."""

    def shown(self, item: Any, position: int) -> str:  # noqa: ANN401 -- an item of this work
        """Show an item in an error message.

        :param position: Where the caller's list has it.
        """

    def is_finite(self, answer: Any) -> bool:  # noqa: ANN401 -- an answer of this work
        """Tell whether an answer may be given out."""

    def not_finite(self, item: Any, answer: Any) -> RerankerError:  # noqa: ANN401 -- of this work
        """Give the error for an answer that may not."""


class PairScoring:
    """Pairs that get logits."""

    items = "pairs"

    def shown(self, item: Pair, position: int) -> str:
        """Show a pair in an error message."""
        query, passage = item
        return f"pair {position} ({query[:60]!r}, {passage[:60]!r})"

    def is_finite(self, answer: float) -> bool:
        """Tell whether a logit is a number that can be ordered."""
        return math.isfinite(answer)

    def not_finite(self, item: Pair, answer: float) -> RerankerError:
        """Give the error for a logit that is infinite or not a number."""
        return not_finite(item, answer)


def as_key(item: Item) -> Item:
    """Give the item such that equal ones are the same key; a pair may come as a list."""
    return item if isinstance(item, (str, tuple)) else tuple(item)
