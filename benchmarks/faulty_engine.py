"""An engine that fails as engines do, now and then, around a real one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch

from fr_reranker_plugin.scoring.scorer import EncodedPair, Engine

POISON: Final = "☠"
"""A passage that starts with this makes the forward pass of its batch fail."""


class FaultyEngine:
    """Runs out of memory in every `memory_every`th batch, and fails on poisoned pairs.

    :param engine: The real one.
    """

    def __init__(self, engine: Engine, *, memory_every: int) -> None:
        self._engine = engine
        self._memory_every = memory_every
        self._poisoned: set[tuple[int, ...]] = set()
        self.batches = self.out_of_memory = self.poisoned = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever else the real engine has
        return getattr(self._engine, name)

    def encode(self, pairs: Sequence[tuple[str, str]]) -> list[EncodedPair]:
        """Tokenise, and remember the poisoned pairs."""
        encoded = self._engine.encode(pairs)
        self._poisoned |= {
            tuple(one.token_ids) for one, (_, passage) in zip(encoded, pairs, strict=True) if passage.startswith(POISON)
        }
        return encoded

    def launch(self, batch: Sequence[EncodedPair]) -> Callable[[], list[float]]:
        """Start a forward pass, or fail."""
        self.batches += 1
        if self.batches % self._memory_every == 0 and len(batch) > 1:
            self.out_of_memory += 1
            raise torch.OutOfMemoryError("injected: out of memory")
        if any(tuple(pair.token_ids) in self._poisoned for pair in batch):
            self.poisoned += 1
            raise ValueError("injected: this pair cannot be read")
        return self._engine.launch(batch)
