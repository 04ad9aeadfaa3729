"""Encode the texts of many callers together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np

from fr_reranker_plugin.errors import RerankerError, ScoringError
from fr_reranker_plugin.retrieval.encoder_engine import EncoderEngine
from fr_reranker_plugin.retrieval.encoder_identity import EncoderIdentity
from fr_reranker_plugin.retrieval.vectors import Vectors
from fr_reranker_plugin.scoring.batcher import Batcher
from fr_reranker_plugin.scoring.scorer import Answers
from fr_reranker_plugin.scoring.settings import BatchSettings, Priority
from fr_reranker_plugin.scoring.work import Work


class TextEncoding:
    """Texts that get unit vectors."""

    items = "texts"

    def shown(self, item: str, position: int) -> str:
        """Show a text in an error message."""
        return f"text {position} ({item[:60]!r})"

    def is_finite(self, answer: Vectors) -> bool:
        """Tell whether all of a vector is."""
        return bool(np.isfinite(answer).all())

    def not_finite(self, item: str, answer: Vectors) -> RerankerError:  # noqa: ARG002 -- its numbers tell nobody anything
        """Give the error for a vector that is not finite."""
        return ScoringError(f"the bi-encoder gave a vector that is not finite for the text {item[:60]!r}")


class BatchingEncoder(Batcher):
    """Share one loaded bi-encoder among threads and event loops; see `BatchingScorer`, which has the same rules.

    :param engines: The loaded model, or copies of it on several devices. They are used until `close`.
    :param settings: Bounds of a batch and of the queue; a "pair" is a text here.
    """

    _work: ClassVar[Work] = TextEncoding()
    _when_closed: ClassVar[str] = "this encoder was closed; make a new SharedEncoder"

    def __init__(self, engines: EncoderEngine | Sequence[EncoderEngine], settings: BatchSettings | None = None) -> None:
        first = engines[0] if isinstance(engines, Sequence) else engines
        self.identity: Final[EncoderIdentity] = first.identity
        super().__init__(engines, settings)

    def encode(
        self, texts: Sequence[str], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> Vectors:
        """Give the unit vectors of `texts` as they stand, in order: float32, shape (n, dimension).

        :param timeout: Seconds until `DeadlineExceededError`; `None` waits as long as it takes.
        :param priority: `"bulk"` lets the requests that someone waits for go first.
        :raises OverloadedError: If the queue is full. Nothing of the request has been encoded then.
        :raises ScoringError: If the model fails on a text of this request.
        :raises DeviceLostError: If the device failed for good.
        :raises ScorerClosedError: If the encoder is closed, or was made in the parent of this forked process.
        """
        return self._stacked(self._ask(texts, timeout=timeout, priority=priority))

    async def aencode(
        self, texts: Sequence[str], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> Vectors:
        """Give the unit vectors without blocking the event loop; parameters and errors are those of `encode`."""
        return self._stacked(await self._aask(texts, timeout=timeout, priority=priority))

    def _stacked(self, parts: Sequence[Answers[Vectors]]) -> Vectors:
        rows = [row for part in parts for row in part]
        return np.stack(rows) if rows else np.empty((0, self.identity.dimension), dtype=np.float32)
