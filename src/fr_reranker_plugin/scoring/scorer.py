"""The two protocols that everything hangs on, and the two values that pass between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, Self, runtime_checkable

from fr_reranker_plugin.scoring.settings import Priority

Pair = tuple[str, str]
"""A query and a passage."""


class EncodedPair(NamedTuple):
    """One pair, or for a bi-encoder one text, as the model reads it.

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

    def score(
        self, pairs: Sequence[Pair], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> list[float]:
        """Score `pairs`, giving up with `DeadlineExceededError` after `timeout` seconds (`None`: never).

        `priority="bulk"` lets the requests that someone waits for go first.
        """

    async def ascore(
        self, pairs: Sequence[Pair], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> list[float]:
        """Score `pairs` without blocking the event loop."""


class Engine(Protocol):
    """A loaded model on one device: what a thread of `BatchingScorer` drives.

    `encode` may be called from several threads at once; `launch`, and what it returns, from one thread only.
    """

    @property
    def pads(self) -> bool:
        """Whether a batch costs its longest pair times its pairs, rather than just its tokens (padding-free)."""

    @property
    def depth(self) -> int:
        """How many batches may be under way: 2 where `launch` returns before the logits are there, else 1."""

    def encode(self, pairs: Sequence[Pair]) -> list[EncodedPair]:
        """Tokenise `pairs`, one result each, in order."""

    def windows(self, pairs: Sequence[Pair], *, overlap: int) -> list[list[tuple[int, int]]]:
        """Give where the passage of each pair is cut into windows that fit; see `cut_passages`."""

    def launch(self, batch: Sequence[EncodedPair]) -> Callable[[], list[float]]:
        """Start one pass through the model; the function that is returned waits for it and gives the logits."""
