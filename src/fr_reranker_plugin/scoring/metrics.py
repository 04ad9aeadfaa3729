"""What a scorer counts: plain numbers that a door may print, export or ignore."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, NamedTuple

from fr_reranker_plugin.scoring.scheduling import Waiting
from fr_reranker_plugin.scoring.settings import Priority

LATENCY_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the latency histogram, in seconds, inclusive; slower requests are in one more bucket."""

_MEMORY_OF_RATE: Final = 0.9
"""How much of the measured speed each batch leaves to the ones before it."""


class Latencies(NamedTuple):
    """Answered requests of one priority: how many, their seconds in all, and how many in each of `LATENCY_BUCKETS`."""

    answered: int
    seconds: float
    buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Counters of one scorer since it was made, and what waits now. Of an encoder, a "pair" is a text.

    :param waiting_pairs: Pairs that are in no batch yet; a pair that several requests wait for counts in each.
    :param waiting_tokens: Their tokens.
    :param waiting: The same by priority.
    :param oldest_waiting_seconds: Age of the oldest request with a pair that waits; 0 if none.
    :param batches: Forward passes that gave logits.
    :param pairs: Pairs that were computed.
    :param tokens: Their tokens, without padding.
    :param efficiency: Useful over computed tokens (0..1; padding is the difference), 1.0 before the first batch.
    :param tokens_per_second: Useful tokens per second of late, over all engines; 0 before the first batch.
    :param token_budgets: What a batch may cost now, by engine; less than was set after memory ran out.
    :param shared_pairs: Pairs that were not computed because the same pair was waiting or being computed.
    :param cancelled_pairs: Pairs dropped from the queue because their caller left.
    :param expired_pairs: Pairs dropped from the queue because their time was over.
    :param failed_pairs: Pairs that the model gave no finite logit for.
    :param splits: Batches that failed and were halved.
    :param oom_splits: Those that failed for want of memory.
    :param refused: Requests that found the queue full.
    :param seconds: Time spent, by phase: `tokenize` and `deliver` sum over threads, `queue` over requests (until the
        last pair is in a batch), `forward` over engines.
    :param requests: Answered requests by priority.
    """

    waiting_pairs: int
    waiting_tokens: int
    waiting: dict[Priority, Waiting]
    oldest_waiting_seconds: float
    batches: int
    pairs: int
    tokens: int
    efficiency: float
    tokens_per_second: float
    token_budgets: tuple[int, ...]
    shared_pairs: int
    cancelled_pairs: int
    expired_pairs: int
    failed_pairs: int
    splits: int
    oom_splits: int
    refused: int
    seconds: dict[str, float]
    requests: dict[Priority, Latencies]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether a scorer can answer.

    :param engines: Engines it was made with.
    :param engines_alive: Engines whose thread runs; an engine whose device is lost has none.
    :param seconds_since_last_batch: Since a batch was last answered; `None` before the first. Means little when idle.
    :param oldest_waiting_seconds: Age of the oldest request that waits; 0 if none. It grows when a device hangs.
    """

    engines: int
    engines_alive: int
    seconds_since_last_batch: float | None
    oldest_waiting_seconds: float

    @property
    def is_ready(self) -> bool:
        """Whether any engine can answer."""
        return self.engines_alive > 0


class Rate:
    """Useful tokens per second of one engine of late; 0 before the first batch."""

    def __init__(self) -> None:
        self._tokens = self._seconds = 0.0

    def count(self, tokens: int, seconds: float) -> None:
        """Add one batch."""
        self._tokens = self._tokens * _MEMORY_OF_RATE + tokens
        self._seconds = self._seconds * _MEMORY_OF_RATE + seconds

    @property
    def tokens_per_second(self) -> float:
        """The speed."""
        return self._tokens / self._seconds if self._seconds else 0.0


@dataclass(slots=True)
class _Histogram:
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS) + 1))


class Metrics:
    """Counters that the scorer's threads and callers add to."""

    def __init__(self) -> None:
        self.batches = self.pairs = self.tokens = self.computed_tokens = 0
        self.splits = self.oom_splits = self.refused = self.failed_pairs = 0
        self.shared_pairs = self.cancelled_pairs = self.expired_pairs = 0
        self.last_batch_at: float | None = None
        self._seconds = {"tokenize": 0.0, "queue": 0.0, "forward": 0.0, "deliver": 0.0}
        self._requests: dict[Priority, _Histogram] = {"interactive": _Histogram(), "bulk": _Histogram()}
        self._lock = threading.Lock()

    def count_batch(self, *, pairs: int, tokens: int, computed: int, at: float) -> None:
        """Count one forward pass that gave logits.

        :param tokens: Tokens of the pairs.
        :param computed: Tokens the engine computed, padding included.
        :param at: When it was done, on the monotonic clock.
        """
        with self._lock:
            self.batches += 1
            self.pairs += pairs
            self.tokens += tokens
            self.computed_tokens += computed
            self.last_batch_at = at

    def count(self, name: str, number: int = 1) -> None:
        """Add to the counter of this name."""
        with self._lock:
            setattr(self, name, getattr(self, name) + number)

    def count_request(self, priority: Priority, seconds: float) -> None:
        """Count a request that was answered with logits."""
        histogram = self._requests[priority]
        with self._lock:
            histogram.seconds += seconds
            histogram.buckets[bisect_left(LATENCY_BUCKETS, seconds)] += 1

    def spend(self, phase: str, seconds: float) -> None:
        """Add seconds to a phase."""
        with self._lock:
            self._seconds[phase] += seconds

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the seconds spent inside to a phase; several threads may be inside."""
        start = perf_counter()
        try:
            yield
        finally:
            self.spend(name, perf_counter() - start)

    def snapshot(
        self, waiting: dict[Priority, Waiting], *, oldest: float, budgets: Sequence[int], rates: Sequence[Rate]
    ) -> Snapshot:
        """Freeze the counters.

        :param waiting: What waits now.
        :param oldest: Age of the oldest request that waits, in seconds.
        """
        with self._lock:
            return Snapshot(
                waiting_pairs=sum(one.pairs for one in waiting.values()),
                waiting_tokens=sum(one.tokens for one in waiting.values()),
                waiting=waiting,
                oldest_waiting_seconds=oldest,
                batches=self.batches,
                pairs=self.pairs,
                tokens=self.tokens,
                efficiency=self.tokens / self.computed_tokens if self.computed_tokens else 1.0,
                tokens_per_second=sum(rate.tokens_per_second for rate in rates),
                token_budgets=tuple(budgets),
                shared_pairs=self.shared_pairs,
                cancelled_pairs=self.cancelled_pairs,
                expired_pairs=self.expired_pairs,
                failed_pairs=self.failed_pairs,
                splits=self.splits,
                oom_splits=self.oom_splits,
                refused=self.refused,
                seconds=dict(self._seconds),
                requests={
                    priority: Latencies(sum(one.buckets), one.seconds, tuple(one.buckets))
                    for priority, one in self._requests.items()
                },
            )
