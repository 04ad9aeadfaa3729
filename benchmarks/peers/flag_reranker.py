"""FlagEmbedding: `FlagReranker.compute_score`."""

from __future__ import annotations

from collections.abc import Sequence

from FlagEmbedding import FlagReranker


class Flag:
    """`FlagReranker.compute_score` with its own batch size of 128.

    On transformers 5 it decodes tokens to text and tokenises that again, so ids may differ a little from the others'.
    """

    def __init__(self, folder: str, *, device: str, use_fp16: bool = False) -> None:
        self._reranker = FlagReranker(folder, use_fp16=use_fp16, devices=device, max_length=512)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Give one logit per pair, in order."""
        scores = self._reranker.compute_score([list(pair) for pair in pairs], normalize=False)
        return [float(score) for score in scores]

    def close(self) -> None:
        """Let go of the model."""
        del self._reranker
