"""sentence-transformers: `CrossEncoder.predict`, alone or behind a lock."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import torch
from sentence_transformers import CrossEncoder

_TO_TRY: Final = (4, 8, 16, 64, 128)


class Predict:
    """`CrossEncoder.predict` as its documentation shows it; raw logits, so that scores can be compared.

    :param folder: The checkpoint.
    :param dtype: Name of a torch dtype.
    :param batch_size: 32 is its default. `None` tries some and keeps the fastest.
    :param locked: One caller at a time: what a service does that shares the model among threads.
    """

    def __init__(
        self, folder: str, *, device: str, dtype: str = "float32", batch_size: int | None = 32, locked: bool = False
    ) -> None:
        self._model = CrossEncoder(folder, device=device, model_kwargs={"dtype": getattr(torch, dtype)})
        self._lock = threading.Lock() if locked else None
        self.batch_size = batch_size

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Give one logit per pair, in order."""
        if self._lock is None:
            return self._predict(pairs)
        with self._lock:
            return self._predict(pairs)

    def tune(self, pairs: Sequence[tuple[str, str]], seconds_of: object) -> None:
        """Choose the batch size that scores `pairs` fastest, unless one was given."""
        if self.batch_size is None and callable(seconds_of):
            self.batch_size = min(_TO_TRY, key=lambda size: seconds_of(lambda: self._predict(pairs, size)))

    def plan(self, pairs: Sequence[tuple[str, str]]) -> list[list[int]]:
        """Give the positions of each padded batch: by characters, longest first."""
        order = sorted(range(len(pairs)), key=lambda at: -sum(map(len, pairs[at])))
        size = self.batch_size or 32
        return [order[start : start + size] for start in range(0, len(order), size)]

    def close(self) -> None:
        """Let go of the model."""
        del self._model

    def _predict(self, pairs: Sequence[tuple[str, str]], batch_size: int | None = None) -> list[float]:
        scores = self._model.predict(
            [list(pair) for pair in pairs],
            batch_size=batch_size or self.batch_size or 32,
            activation_fn=torch.nn.Identity(),
            show_progress_bar=False,
        )
        return [float(score) for score in scores]
