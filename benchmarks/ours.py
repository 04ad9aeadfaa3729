"""Our scorer, as a user calls it: one handle on the shared scorer, tokenising included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fr_reranker_plugin.scoring.metrics import Snapshot
from fr_reranker_plugin.scoring.settings import BatchSettings, ModelSettings
from fr_reranker_plugin.scoring.shared import shared_scorer


class Ours:
    """A variant of the shared scorer.

    :param options: Fields of `ModelSettings`: `dtype`, `backend`.
    """

    def __init__(
        self,
        folder: str,
        *,
        device: str,
        max_batch_tokens: int | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        model = ModelSettings(model=folder, device=device, **options)
        self.scorer = shared_scorer(model, BatchSettings(max_batch_tokens=max_batch_tokens))

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Give one logit per pair, in order."""
        return self.scorer.score(pairs)

    async def ascore(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Give one logit per pair without blocking the loop."""
        return await self.scorer.ascore(pairs)

    def snapshot(self) -> Snapshot:
        """Give the counters of the live scorer."""
        snapshot = self.scorer.snapshot()
        if snapshot is None:
            raise RuntimeError("the scorer is closed")
        return snapshot

    @property
    def counted(self) -> tuple[float, float]:
        """Give the useful and the computed tokens so far."""
        counts = self.snapshot()
        return counts.tokens, counts.tokens / counts.efficiency

    def close(self) -> None:
        """Let go of the model."""
        self.scorer.close()
