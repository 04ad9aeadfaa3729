"""Score the pairs of many callers together: one queue, one thread, no waiting window."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from time import monotonic
from typing import Final, Self

from fr_reranker_plugin.errors import DeadlineExceededError, OverloadedError, ScorerClosedError
from fr_reranker_plugin.scoring.metrics import Metrics, Snapshot
from fr_reranker_plugin.scoring.requests import Request, Slot, take_batch
from fr_reranker_plugin.scoring.scorer import EncodedPair, Engine, Logits, Pair
from fr_reranker_plugin.scoring.settings import BatchSettings

logger = logging.getLogger(__name__)

_open_scorers: Final[weakref.WeakSet[BatchingScorer]] = weakref.WeakSet()

FORKED: Final = (
    "this process was forked from one that had loaded a model; the model's threads live in the parent only. "
    "Fork before the first use, or start the workers with the 'spawn' method"
)


class BatchingScorer:
    """Share one loaded model among threads and event loops.

    One thread owns the model. It never waits for a batch to fill: while one batch runs the next one gathers, so batches
    grow with the load. Whole requests finish early: the one with the least work left goes first, and a request gains
    on later ones by the work it has seen done, so that none starves.

    :param engine: The loaded model. It is used until `close`.
    :param settings: Bounds of a batch and of the queue.
    """

    def __init__(self, engine: Engine, settings: BatchSettings | None = None) -> None:
        self._engine = engine
        self._settings = (settings or BatchSettings()).for_device(None)
        self._requests: list[Request] = []
        self._closed = False
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._metrics = Metrics()
        self._tokenizer_pool = ThreadPoolExecutor(1, thread_name_prefix="fr-reranker-tokenizer")
        self._worker = threading.Thread(target=self._work, name="fr-reranker-scorer", daemon=True)
        self._worker.start()
        _open_scorers.add(self)

    def score(self, pairs: Sequence[Pair], *, timeout: float | None = None) -> Logits:
        """Give one raw logit per pair, in order; blocks the calling thread.

        :param timeout: Seconds until `DeadlineExceededError`; `None` waits as long as it takes.
        :raises OverloadedError: If the queue is full. Nothing of the request has been scored then.
        :raises ScoringError: If the model fails on a pair of this request.
        :raises ScorerClosedError: If the scorer is closed, or was made in the parent of this forked process.
        """
        deadline = None if timeout is None else monotonic() + timeout
        answers: list[Logits] = []
        in_flight: deque[Future[Logits]] = deque()
        try:
            for number, part in enumerate(self._slices(pairs)):
                in_flight.append(self._enqueue(self._encode(part), part, admitted=number > 0))
                if len(in_flight) > 1:
                    answers.append(_wait(in_flight[0], deadline))
                    in_flight.popleft()
            answers += [_wait(future, deadline) for future in in_flight]
        except FutureTimeoutError:
            raise DeadlineExceededError(f"no answer within {timeout} s for {len(pairs)} pairs") from None
        finally:
            for future in in_flight:
                future.cancel()
        return Logits.joined(answers)

    async def ascore(self, pairs: Sequence[Pair], *, timeout: float | None = None) -> Logits:
        """Give one raw logit per pair, in order, without blocking the event loop.

        Cancelling the task drops its pairs that are not yet in a batch. Parameters and errors are those of `score`.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._ascore(pairs)
        except TimeoutError:
            raise DeadlineExceededError(f"no answer within {timeout} s for {len(pairs)} pairs") from None

    async def _ascore(self, pairs: Sequence[Pair]) -> Logits:
        loop = asyncio.get_running_loop()
        answers: list[Logits] = []
        in_flight: deque[asyncio.Future[Logits]] = deque()
        try:
            for number, part in enumerate(self._slices(pairs)):
                encoded = await loop.run_in_executor(self._open_tokenizer_pool(), self._encode, part)
                in_flight.append(asyncio.wrap_future(self._enqueue(encoded, part, admitted=number > 0)))
                if len(in_flight) > 1:
                    answers.append(await in_flight[0])
                    in_flight.popleft()
            for future in in_flight:
                answers.append(await future)
        finally:
            for future in in_flight:
                future.cancel()
        return Logits.joined(answers)

    def snapshot(self) -> Snapshot:
        """Counters since the start, and what waits now."""
        with self._changed:
            waiting = sum(request.waiting for request in self._requests)
            return self._metrics.snapshot(waiting_pairs=waiting)

    def close(self) -> None:
        """Answer what is queued, then stop. Later calls are refused; closing twice does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._process == os.getpid() and threading.current_thread() is not self._worker:
            self._worker.join()
        self._tokenizer_pool.shutdown(wait=False)

    def abandon(self) -> None:
        """Fail what is queued and stop after the batch that is running."""
        self._fail_all(RuntimeError("the interpreter is shutting down"))
        self.close()

    def _slices(self, pairs: Sequence[Pair]) -> list[Sequence[Pair]]:
        size = self._settings.max_slice_pairs
        return [pairs[start : start + size] for start in range(0, len(pairs), size)]

    def _encode(self, pairs: Sequence[Pair]) -> list[EncodedPair]:
        self._check_open()
        with self._metrics.phase("tokenize"):
            return self._engine.encode(pairs)

    def _open_tokenizer_pool(self) -> ThreadPoolExecutor:
        with self._changed:
            self._check_open()
            return self._tokenizer_pool

    def _enqueue(self, encoded: list[EncodedPair], pairs: Sequence[Pair], *, admitted: bool) -> Future[Logits]:
        """Let a request in, or refuse it whole; `admitted` slices belong to a request that is already in."""
        with self._changed:
            self._check_open()
            waiting = sum(request.waiting for request in self._requests)
            if not admitted and waiting and waiting + len(pairs) > self._settings.max_waiting_pairs:
                self._metrics.refused += 1
                raise OverloadedError(f"{waiting} pairs are already waiting; try again later", waiting=waiting)
            request = Request(pairs, encoded, arrived_at=self._metrics.tokens)
            self._requests.append(request)
            self._changed.notify()
        return request.future

    def _check_open(self) -> None:
        if self._process != os.getpid():
            raise ScorerClosedError(FORKED)
        if self._closed:
            raise ScorerClosedError("this scorer was closed; ask shared_scorer() for a new one")

    def _work(self) -> None:
        try:
            while self._answer_next():
                pass
        except BaseException as error:
            logger.exception("the scoring thread stopped; every waiting request fails")
            self._fail_all(error)
            raise

    def _answer_next(self) -> bool:
        """Answer the next batch, holding on to nothing of it; false once closed and drained."""
        batch = self._next_batch()
        if batch:
            self._answer(batch)
        return bool(batch)

    def _next_batch(self) -> list[Slot]:
        """Wait for work and take the most urgent batch; empty once closed and drained."""
        with self._changed:
            while True:
                self._requests = [request for request in self._requests if self._is_live(request)]
                if self._requests or self._closed:
                    break
                self._changed.wait()
            return take_batch(self._requests, self._settings)

    def _is_live(self, request: Request) -> bool:
        if request.waiting and not request.is_wanted():
            self._metrics.cancelled_pairs += request.waiting
        return bool(request.waiting) and request.is_wanted()

    def _answer(self, batch: list[Slot]) -> None:
        """Score `batch` and answer every slot; a pair that fails alone fails its own request only."""
        try:
            with self._metrics.phase("forward"):
                logits = self._engine.forward([slot.encoded for slot in batch])
            answers = list(zip(batch, logits, strict=True))
        except Exception as error:  # noqa: BLE001 -- whatever happened belongs to the callers
            self._split(batch, error)
            return
        self._metrics.count_batch([len(slot.encoded.token_ids) for slot in batch])
        for slot, logit in answers:
            slot.deliver(logit)

    def _split(self, batch: list[Slot], error: Exception) -> None:
        """Try each half of a batch that failed, down to the pair that is to blame."""
        if len(batch) == 1:
            batch[0].fail(error)
            return
        logger.warning(
            "a batch of %d pairs failed (%s: %s); trying its halves", len(batch), type(error).__name__, error
        )
        self._metrics.splits += 1
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            wanted = [slot for slot in half if slot.request.is_wanted()]
            if wanted:
                self._answer(wanted)

    def _fail_all(self, error: BaseException) -> None:
        with self._changed:
            self._closed = True
            requests, self._requests = self._requests, []
            self._changed.notify_all()
        for request in requests:
            request.fail(ScorerClosedError(f"the scoring thread stopped: {type(error).__name__}: {error}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _abandon_all() -> None:
    """Stop every scorer before the interpreter goes: a thread that is ended inside torch would abort the process."""
    for scorer in list(_open_scorers):
        scorer.abandon()


atexit.register(_abandon_all)


def _wait(future: Future[Logits], deadline: float | None) -> Logits:
    return future.result(None if deadline is None else max(0.0, deadline - monotonic()))
