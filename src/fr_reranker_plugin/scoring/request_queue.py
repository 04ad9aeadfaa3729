"""The one queue between the callers and the engines: thread-safe, bounded, every promise in it kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final

from fr_reranker_plugin.errors import OverloadedError, RerankerError
from fr_reranker_plugin.scoring.faults import scoring_error
from fr_reranker_plugin.scoring.metrics import Metrics, Rate
from fr_reranker_plugin.scoring.requests import Request, Slot
from fr_reranker_plugin.scoring.scheduling import Limits, Schedule, Waiting
from fr_reranker_plugin.scoring.scorer import Item
from fr_reranker_plugin.scoring.settings import Priority
from fr_reranker_plugin.scoring.work import Work

_SOONEST_RETRY: Final = 0.05


class RequestQueue:
    """Requests come in, batches go out, and every request is answered once.

    A pair (or text: see `Work`) that several requests ask for while it waits or is computed is computed once.

    :param most_pairs: Pairs that may wait of one priority; bulk requests must find room beside the interactive ones.
    :param metrics: Where to count.
    :param work: What is asked.
    """

    def __init__(self, most_pairs: int, metrics: Metrics, work: Work) -> None:
        self.work: Final = work
        self._most_pairs = most_pairs
        self._metrics = metrics
        self._changed = threading.Condition()
        self._schedule = Schedule()
        self._known: dict[Item, Slot] = {}
        self._refusal: Callable[[], RerankerError] | None = None
        self.rates: list[Rate] = []

    def check_open(self) -> None:
        """Refuse if nobody will answer.

        :raises ScorerClosedError: After `close`.
        :raises DeviceLostError: If every engine lost its device.
        """
        if self._refusal is not None:
            raise self._refusal()

    def enter(self, request: Request, *, admitted: bool = False) -> None:
        """Let a request in, or refuse it whole.

        :param admitted: It is a further slice of a request that is in already, and never too much.
        :raises OverloadedError: If there is no room. A request larger than the queue finds room when nothing waits.
        """
        with self._changed:
            self.check_open()
            if request.deadline <= monotonic():
                self._metrics.count("expired_pairs", request.waiting)
                raise TimeoutError
            if not admitted:
                self._check_room(request)
            shared = request.repeats + request.join(self._known)
            request.entered_at = monotonic()
            if request.waiting:
                self._schedule.add(request)
                self._changed.notify()
        if shared:
            self._metrics.count("shared_pairs", shared)

    def take(self, limits: Limits, *, wait: bool) -> list[Slot]:
        """Take the next batch; none if nothing waits.

        :param wait: Wait until something does, or until the queue is closed and drained.
        """
        with self._changed:
            while True:
                now = monotonic()
                for request in self._schedule.take_expired(now):
                    self._drop(request, count_as="expired_pairs")
                    request.fail(TimeoutError())
                batch = self._schedule.take_batch(limits)
                if batch or self._refusal is not None or not wait:
                    break
                self._changed.wait()
            if batch:
                self._count_queue_time(batch, now)
                self._changed.notify()  # there may be more than one engine's worth
            return batch

    def answer(self, batch: Sequence[Slot], answers: Collection[Any]) -> None:
        """Give everyone who asked the answers for `batch`; one that is not finite is an error of its pair."""
        finite = [self.work.is_finite(answer) for answer in answers]
        complete: list[Request] = []
        with self._changed:
            self._forget(batch)
            for slot, answer, good in zip(batch, answers, finite, strict=True):
                if good:
                    complete += [request for request, position in slot.askers if request.note(position, answer)]
        for request in complete:
            request.answer()
        for slot, answer, good in zip(batch, answers, finite, strict=True):
            if not good:
                self._answer_with([slot], partial(self._not_finite, answer))

    def fail(self, slot: Slot, cause: BaseException) -> None:
        """Tell everyone who asked for this pair that the model failed on it."""
        with self._changed:
            self._forget([slot])
        self._answer_with(
            [slot], lambda slot, place: scoring_error(self.work.shown(slot.item, place), slot.length, cause)
        )

    def give_up(self, batch: Sequence[Slot], error: Callable[[], RerankerError]) -> None:
        """Tell everyone who asked for these pairs that nobody can compute them."""
        with self._changed:
            self._forget(batch)
        self._answer_with(batch, lambda *_: error())

    def still_wanted(self, batch: Sequence[Slot]) -> list[Slot]:
        """Give the pairs of a batch that someone still waits for; the others are forgotten."""
        with self._changed:
            wanted = [slot for slot in batch if any(request.is_wanted() for request, _ in slot.askers)]
            self._forget(set(batch).difference(wanted))
            return wanted

    def withdraw(self, request: Request, *, expired: bool = False) -> None:
        """Drop what of a request still waits, if anything; pairs that others asked for too stay."""
        request.future.cancel()
        with self._changed:
            self._drop(request, count_as="expired_pairs" if expired else "cancelled_pairs")

    def close(self, refusal: Callable[[], RerankerError]) -> None:
        """Refuse from now on; what waits is still answered."""
        with self._changed:
            self._refusal = self._refusal or refusal
            self._changed.notify_all()

    def abandon(self, refusal: Callable[[], RerankerError]) -> None:
        """Refuse from now on, and whatever is not answered yet."""
        with self._changed:
            self._refusal = refusal
            unanswered = {request for slot in self._known.values() for request, _ in slot.askers}
            for request in unanswered:
                self._drop(request)
            self._known.clear()
            self._changed.notify_all()
        for request in unanswered:
            request.fail(refusal())

    def waiting(self) -> tuple[dict[Priority, Waiting], float]:
        """Tell what waits by priority, and the age of the oldest request that does, in seconds."""
        with self._changed:
            oldest = self._schedule.oldest()
            age = 0.0 if oldest is None else monotonic() - oldest
            return {"interactive": self._schedule.waiting("interactive"), "bulk": self._schedule.waiting("bulk")}, age

    def _check_room(self, request: Request) -> None:
        waiting = [self._schedule.waiting("interactive")]
        if request.priority == "bulk":
            waiting.append(self._schedule.waiting("bulk"))
        pairs = sum(one.pairs for one in waiting)
        too_many = pairs + request.waiting - self._most_pairs
        if not pairs or too_many <= 0:
            return
        self._metrics.count("refused")
        tokens = sum(one.tokens for one in waiting) * min(1.0, too_many / pairs)
        speed = sum(rate.tokens_per_second for rate in self.rates)
        retry_after = max(_SOONEST_RETRY, tokens / speed) if speed else 1.0
        message = f"{pairs} {self.work.items} are already waiting; try again in {retry_after:.2g} s"
        raise OverloadedError(message, waiting=pairs, retry_after=retry_after)

    def _count_queue_time(self, batch: list[Slot], now: float) -> None:
        complete = {request for slot in batch for request, _ in slot.askers if not request.waiting}
        if complete:
            self._metrics.spend("queue", sum(now - request.entered_at for request in complete))

    def _drop(self, request: Request, *, count_as: str | None = None) -> None:
        pairs = request.waiting
        self._forget(request.leave())
        if pairs and count_as is not None:
            self._metrics.count(count_as, pairs)

    def _forget(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            self._known.pop(slot.item, None)

    def _answer_with(self, slots: Sequence[Slot], error: Callable[[Slot, int], RerankerError]) -> None:
        """Fail everyone who asked for these slots, which are forgotten already, so that nobody else can."""
        self._metrics.count("failed_pairs", len(slots))
        failed: set[Request] = set()
        for slot in slots:
            for request, position in slot.askers:
                request.fail(error(slot, request.place_of(position)))
                failed.add(request)
        with self._changed:
            for request in failed:
                self._drop(request)

    def _not_finite(self, answer: Any, slot: Slot, _: int) -> RerankerError:  # noqa: ANN401 -- of this work
        return self.work.not_finite(slot.item, answer)
