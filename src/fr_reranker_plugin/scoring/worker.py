"""The thread that drives one engine."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection
from time import monotonic
from typing import Any, NamedTuple

from fr_reranker_plugin.errors import DeviceLostError, RerankerError, ScorerClosedError
from fr_reranker_plugin.scoring.faults import TokenBudget, device_lost, is_device_lost, is_out_of_memory, release
from fr_reranker_plugin.scoring.metrics import Metrics, Rate
from fr_reranker_plugin.scoring.request_queue import RequestQueue
from fr_reranker_plugin.scoring.requests import Slot
from fr_reranker_plugin.scoring.scheduling import Limits
from fr_reranker_plugin.scoring.scorer import BatchEngine

logger = logging.getLogger(__name__)


class _Flight(NamedTuple):
    """A batch that the engine is computing."""

    batch: list[Slot]
    wait: Callable[[], Collection[Any]]
    launched_at: float


class Worker:
    """Keep one engine busy with what waits; whatever goes wrong is an answer to the callers.

    It never waits for a batch to fill. Up to `engine.depth` batches are under way: after one is launched, the next is
    too, if something waits at that moment; what comes later is launched once the oldest under way is answered. A batch
    that fails is halved and tried again, down to the pair to blame.

    :param engine: The loaded model. Used from this thread only, apart from `encode`.
    :param queue: Where the batches come from.
    :param metrics: Where to count.
    :param limits: The token budget and the most pairs of a batch.
    :param on_stop: Called when the engine can answer no more, with the error for the callers; not on `close`.
    """

    def __init__(
        self,
        engine: BatchEngine,
        queue: RequestQueue,
        metrics: Metrics,
        limits: Limits,
        on_stop: Callable[[Callable[[], RerankerError]], None],
    ) -> None:
        self.budget = TokenBudget(limits.tokens)
        self.rate = Rate()
        self._engine = engine
        self._queue = queue
        self._metrics = metrics
        self._limits = limits
        self._on_stop = on_stop
        self._in_flight: deque[_Flight] = deque()
        self._to_retry: list[list[Slot]] = []
        self._busy_with: list[Slot] = []
        self._last_chance: Slot | None = None
        self._free_since = 0.0
        self.thread = threading.Thread(target=self._run, name="fr-reranker-scorer", daemon=True)

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except DeviceLostError as error:
            logger.error("%s", error)
            self._stop(_again(error))
        except BaseException as error:
            logger.exception("the scoring thread stopped; its requests fail")
            self._stop(_stopped(error))
            raise

    def _step(self) -> bool:
        """Do the next thing, holding on to nothing of it; false once the queue is closed and drained."""
        if self._to_retry and not self._in_flight:
            self._retry()
        elif self._to_retry or not self._launch_next():
            if not self._in_flight:
                return False
            self._collect()
        self._busy_with = []
        return True

    def _launch_next(self) -> bool:
        """Launch what waits, if the engine has room for one more batch."""
        if len(self._in_flight) >= self._engine.depth:
            return False
        limits = self._limits._replace(tokens=self.budget.tokens)
        batch = self._queue.take(limits, wait=not self._in_flight)
        if batch:
            self._launch(batch)
        return bool(batch)

    def _launch(self, batch: list[Slot]) -> None:
        self._busy_with = batch
        started = monotonic()
        try:
            self._in_flight.append(_Flight(batch, self._engine.launch([slot.encoded for slot in batch]), started))
        except Exception as error:  # noqa: BLE001 -- whatever happened belongs to the callers
            release(error)
            self._halve(batch, error)

    def _collect(self) -> None:
        """Wait for the oldest batch under way and answer it."""
        batch, wait, launched_at = self._in_flight.popleft()
        self._busy_with = batch
        try:
            answers = wait()
            if len(answers) != len(batch):
                raise ValueError(
                    f"expected {len(batch)} answers, one for each of the {self._queue.work.items}, "
                    f"but the engine gave {len(answers)}"
                )
        except Exception as error:  # noqa: BLE001 -- whatever happened belongs to the callers
            release(error)
            self._halve(batch, error)
            return
        self._count(batch, launched_at, monotonic())
        with self._metrics.phase("deliver"):
            self._queue.answer(batch, answers)

    def _count(self, batch: list[Slot], launched_at: float, now: float) -> None:
        seconds = now - max(launched_at, self._free_since)
        self._free_since = now
        tokens, cost = sum(slot.length for slot in batch), self._cost(batch)
        self.rate.count(tokens, seconds)
        self.budget.grow(cost)
        self._metrics.spend("forward", seconds)
        self._metrics.count_batch(pairs=len(batch), tokens=tokens, computed=cost, at=now)

    def _cost(self, batch: list[Slot]) -> int:
        lengths = [slot.length for slot in batch]
        return max(lengths) * len(lengths) if self._engine.pads else sum(lengths)

    def _halve(self, batch: list[Slot], error: Exception) -> None:
        """Put the halves of a batch that failed aside to be tried with nothing else under way; one pair fails.

        A single pair that ran out of memory is tried once more, for what else was under way or running may be gone.

        :raises DeviceLostError: If trying again is of no use.
        """
        if is_device_lost(error):
            raise device_lost(error)
        out_of_memory = is_out_of_memory(error)
        if out_of_memory:
            self.budget.shrink(self._cost(batch), longest=max(slot.length for slot in batch))
        if len(batch) == 1 and (not out_of_memory or batch[0] is self._last_chance):
            self._queue.fail(batch[0], error)
            return
        reason = f"{type(error).__name__}: {error}"
        logger.warning("a batch of %d %s failed (%s); trying again", len(batch), self._queue.work.items, reason)
        if len(batch) == 1:
            self._last_chance = batch[0]
            self._to_retry.append(batch)
            return
        self._metrics.count("splits")
        self._metrics.count("oom_splits", int(out_of_memory))
        middle = len(batch) // 2
        self._to_retry += [batch[middle:], batch[:middle]]

    def _retry(self) -> None:
        batch = self._queue.still_wanted(self._to_retry.pop())
        if batch:
            self._launch(batch)
        if batch and self._in_flight:
            self._collect()
        if not self._to_retry:
            self._last_chance = None

    def _stop(self, error: Callable[[], RerankerError]) -> None:
        """Answer what was under way, and say that this engine will answer no more."""
        under_way = [self._busy_with, *(flight.batch for flight in self._in_flight), *self._to_retry]
        self._busy_with = []
        self._in_flight.clear()
        self._to_retry.clear()
        for batch in under_way:
            self._queue.give_up(batch, error)
        self._on_stop(error)


def _again(error: DeviceLostError) -> Callable[[], RerankerError]:
    def fresh() -> RerankerError:
        """Give an error of its own to every caller, as raising an error changes it."""
        new = DeviceLostError(*error.args)
        new.__cause__ = error.__cause__
        return new

    return fresh


def _stopped(error: BaseException) -> Callable[[], RerankerError]:
    message = f"the scoring thread stopped: {type(error).__name__}: {error}"
    return lambda: ScorerClosedError(message)
