"""What a scorer counts: plain numbers that a door may print, export or ignore."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Counters of one scorer since it was made.

    `efficiency` is useful over computed tokens (0..1; padding is the difference), 1.0 before the first batch.
    """

    waiting_pairs: int
    batches: int
    pairs: int
    tokens: int
    efficiency: float
    splits: int
    refused: int
    cancelled_pairs: int
    seconds: dict[str, float]


class Metrics:
    """Counters that the scorer's threads add to."""

    def __init__(self) -> None:
        self.batches = self.pairs = self.tokens = self.padded_tokens = 0
        self.splits = self.refused = self.cancelled_pairs = 0
        self._seconds = {"tokenize": 0.0, "forward": 0.0}
        self._lock = threading.Lock()

    def count_batch(self, lengths: Sequence[int]) -> None:
        """Count one forward pass over pairs of these lengths in tokens."""
        self.batches += 1
        self.pairs += len(lengths)
        self.tokens += sum(lengths)
        self.padded_tokens += max(lengths) * len(lengths)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the seconds spent inside to a phase; several threads may be inside."""
        start = perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._seconds[name] += perf_counter() - start

    def snapshot(self, *, waiting_pairs: int) -> Snapshot:
        """Freeze the counters."""
        return Snapshot(
            waiting_pairs=waiting_pairs,
            batches=self.batches,
            pairs=self.pairs,
            tokens=self.tokens,
            efficiency=self.tokens / self.padded_tokens if self.padded_tokens else 1.0,
            splits=self.splits,
            refused=self.refused,
            cancelled_pairs=self.cancelled_pairs,
            seconds=dict(self._seconds),
        )
