"""The protocols that everything hangs on, and the values that pass between them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

from fr_reranker_plugin.scoring.settings import Priority

Pair = tuple[str, str]
"""A query and a passage."""

Item = Pair | str
"""What a model is asked: a pair for a cross-encoder, a text for a bi-encoder."""

Answer = TypeVar("Answer")


class EncodedPair(NamedTuple):
    """One pair, or for a bi-encoder one text, as the model reads it.

    `token_ids` and `type_ids` have one entry per token, special tokens included; a tokenizer gives arrays, which take
    less memory than lists and are laid out faster. `truncated` tells whether text was cut to fit the model.
    """

    token_ids: Sequence[int]
    type_ids: Sequence[int]
    truncated: bool


class Answers(list[Answer]):
    """What a model says of each item, in the order of the items.

    :param answers: One for each item.
    :param truncated: Positions of the items whose text was cut to the model's length; kept in ascending order.
    :param tokens: How many tokens the items have as the model reads them; one that stands twice counts twice.
    """

    def __init__(self, answers: Iterable[Answer] = (), *, truncated: Sequence[int] = (), tokens: int = 0) -> None:
        super().__init__(answers)
        self.truncated = tuple(sorted(truncated))
        self.tokens = tokens

    @classmethod
    def joined(cls, parts: Sequence[Answers[Answer]]) -> Self:
        """Put the answers to consecutive parts of one request together again."""
        truncated: list[int] = []
        answers: list[Answer] = []
        for part in parts:
            truncated += [len(answers) + position for position in part.truncated]
            answers += part
        return cls(answers, truncated=truncated, tokens=sum(part.tokens for part in parts))

    def parts(self, lengths: Iterable[int]) -> Iterator[Self]:
        """Yield the answers to so many items, then those to the next ones; how many tokens these have is not known.

        :param lengths: How many items each part has.
        """
        start = 0
        for length in lengths:
            yield self._slice(start, start + length)
            start += length

    def _slice(self, start: int, end: int) -> Self:
        cut = self.truncated[bisect_left(self.truncated, start) : bisect_left(self.truncated, end)]
        return type(self)(self[start:end], truncated=[place - start for place in cut])


class Logits(Answers[float]):
    """One raw logit per pair, in the order of the pairs; see `Answers`."""


def as_logits(answer: list[float]) -> Logits:
    """Give the answer of any scorer as `Logits`; of one that gives plain numbers, nothing is known to have been cut."""
    return answer if isinstance(answer, Logits) else Logits(answer)


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


class BatchEngine(Protocol):
    """A loaded model on one device: what a thread of a `Batcher` drives.

    `encode` may be called from several threads at once; `launch`, and what it returns, from one thread only. An engine
    that raises `DeviceLostError` is not used again.
    """

    @property
    def pads(self) -> bool:
        """Whether a batch costs its longest pair times its pairs, rather than just its tokens (padding-free)."""

    @property
    def depth(self) -> int:
        """How many batches may be under way: 2 where `launch` returns before the answers are there, else 1."""

    def encode(self, items: Any, /) -> list[EncodedPair]:  # noqa: ANN401 -- pairs or texts
        """Tokenise a sequence of items, one result each, in order."""

    def launch(self, batch: Sequence[EncodedPair]) -> Callable[[], Collection[Any]]:
        """Start one pass through the model; the function that is returned waits for it and gives the answers."""


class Engine(BatchEngine, Protocol):
    """A loaded cross-encoder: the engine of a `BatchingScorer`."""

    @property
    def max_length(self) -> int:
        """The longest pair in tokens; longer ones are cut."""

    def encode(self, pairs: Sequence[Pair], /) -> list[EncodedPair]:
        """Tokenise `pairs`, one result each, in order."""

    def windows(self, pairs: Sequence[Pair], *, overlap: int) -> list[list[tuple[int, int]]]:
        """Give where the passage of each pair is cut into windows that fit; see `cut_passages`."""

    def launch(self, batch: Sequence[EncodedPair]) -> Callable[[], list[float]]:
        """Start one pass through the model; the function that is returned waits for it and gives the logits."""
