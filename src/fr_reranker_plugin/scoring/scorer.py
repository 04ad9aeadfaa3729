"""The two protocols that everything hangs on, and the two values that pass between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, Self, runtime_checkable

Pair = tuple[str, str]
"""A query and a passage."""


class EncodedPair(NamedTuple):
    """One pair as the model reads it.

    `token_ids` and `type_ids` have one entry per token, special tokens included; `truncated` tells whether text was
    cut to fit the model.
    """

    token_ids: list[int]
    type_ids: list[int]
    truncated: bool


class Logits(list[float]):
    """One raw logit per pair, in the order of the pairs.

    :param logits: The logits.
    :param truncated: Positions of the pairs whose text was cut to the model's length.
    """

    def __init__(self, logits: Iterable[float] = (), *, truncated: Sequence[int] = ()) -> None:
        super().__init__(logits)
        self.truncated = tuple(truncated)

    @classmethod
    def joined(cls, parts: Sequence[Logits]) -> Self:
        """Put the logits of consecutive parts of one request together again."""
        truncated: list[int] = []
        logits: list[float] = []
        for part in parts:
            truncated += [len(logits) + position for position in part.truncated]
            logits += part
        return cls(logits, truncated=truncated)


@runtime_checkable
class Scorer(Protocol):
    """Anything that gives one raw logit per pair, in order: higher means more relevant.

    The adapters, the command line and the evaluation know nothing else of a model. A `Logits` may be returned where
    the scorer knows which pairs it had to cut.
    """

    def score(self, pairs: Sequence[Pair], *, timeout: float | None = None) -> list[float]:
        """Score `pairs`, giving up with `DeadlineExceededError` after `timeout` seconds (`None`: never)."""

    async def ascore(self, pairs: Sequence[Pair], *, timeout: float | None = None) -> list[float]:
        """Score `pairs` without blocking the event loop."""


class Engine(Protocol):
    """A loaded model: what `BatchingScorer` drives from its one thread.

    `encode` may be called from several threads at once; `forward` from one thread only.
    """

    def encode(self, pairs: Sequence[Pair]) -> list[EncodedPair]:
        """Tokenise `pairs`, one result each, in order."""

    def forward(self, batch: Sequence[EncodedPair]) -> list[float]:
        """Give the logit of each pair of `batch` in one pass through the model."""
