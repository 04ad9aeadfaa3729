"""Serve many callers together: one queue, one thread for each engine, no waiting window."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, ClassVar, Final, Self

from fr_reranker_plugin.errors import RerankerError, ScorerClosedError
from fr_reranker_plugin.scoring.calls import TOKENISED_AT_A_TIME, Call, slices
from fr_reranker_plugin.scoring.metrics import Health, Metrics, Snapshot
from fr_reranker_plugin.scoring.request_queue import RequestQueue
from fr_reranker_plugin.scoring.scheduling import Limits
from fr_reranker_plugin.scoring.scorer import Answers, BatchEngine, EncodedPair, Item
from fr_reranker_plugin.scoring.settings import BatchSettings, Priority
from fr_reranker_plugin.scoring.work import Work
from fr_reranker_plugin.scoring.worker import Worker

_open_batchers: Final[weakref.WeakSet[Batcher]] = weakref.WeakSet()

FORKED: Final = (
    "this process was forked from one that had loaded a model; the model's threads live in the parent only. "
    "Fork before the first use, start the workers with the 'spawn' method, or give them a server to ask (remote_url)"
)


class Batcher:
    """Share one loaded model among threads and event loops: what `BatchingScorer` and `BatchingEncoder` have in common.

    Each engine has a thread of its own, and all take from one queue. No thread waits for a batch to fill: while one
    batch runs the next one gathers, so batches grow with the load. See `Schedule` for who goes first.

    :param engines: The loaded model, or copies of it on several devices. They are used until `close`.
    :param settings: Bounds of a batch and of the queue.
    """

    _work: ClassVar[Work]
    _when_closed: ClassVar[str]

    def __init__(self, engines: BatchEngine | Sequence[BatchEngine], settings: BatchSettings | None = None) -> None:
        self._engines: list[BatchEngine] = list(engines) if isinstance(engines, Sequence) else [engines]
        self._settings = (settings or BatchSettings()).for_device(None)
        self._process = os.getpid()
        self._metrics = Metrics()
        self._queue = RequestQueue(self._settings.max_waiting_pairs, self._metrics, self._work)
        self._tokenizer_pool = ThreadPoolExecutor(1, thread_name_prefix="fr-reranker-tokenizer")
        self._stopping = threading.Lock()
        self._alive = len(self._engines)
        self._workers = [self._worker_for(engine) for engine in self._engines]
        self._queue.rates = [worker.rate for worker in self._workers]
        for worker in self._workers:
            worker.thread.start()
        _open_batchers.add(self)

    def snapshot(self) -> Snapshot:
        """Counters since the start, and what waits now.

        :raises ScorerClosedError: In a forked child of the process that made it.
        """
        self._check_process()
        waiting, oldest = self._queue.waiting()
        budgets = [worker.budget.tokens for worker in self._workers]
        return self._metrics.snapshot(waiting, oldest=oldest, budgets=budgets, rates=self._queue.rates)

    def health(self) -> Health:
        """Whether the engines' threads run, and when they last answered.

        :raises ScorerClosedError: In a forked child of the process that made it.
        """
        self._check_process()
        _, oldest = self._queue.waiting()
        last = self._metrics.last_batch_at
        return Health(
            engines=len(self._workers),
            engines_alive=sum(worker.thread.is_alive() for worker in self._workers),
            seconds_since_last_batch=None if last is None else monotonic() - last,
            oldest_waiting_seconds=oldest,
        )

    def close(self) -> None:
        """Answer what is queued, then stop; later calls are refused.

        Closing twice, or in a forked child, does nothing.
        """
        if not self._is_of_this_process():
            return
        self._queue.close(self._closed)
        for worker in self._workers:
            if worker.thread is not threading.current_thread():
                worker.thread.join()
        self._tokenizer_pool.shutdown(wait=False)

    def abandon(self) -> None:
        """Fail what is not answered yet and stop after the batches that are running; in a forked child, do nothing."""
        if not self._is_of_this_process():
            return
        self._queue.abandon(lambda: ScorerClosedError("the interpreter is shutting down"))
        self.close()

    def _is_of_this_process(self) -> bool:
        """Tell whether the threads are here; a forked child must take no lock, which a thread may have held."""
        return self._process == os.getpid()

    def _check_process(self) -> None:
        if not self._is_of_this_process():
            raise ScorerClosedError(FORKED)

    def _worker_for(self, engine: BatchEngine) -> Worker:
        settings = self._settings
        limits = Limits(settings.max_batch_tokens or 1, settings.max_batch_size, engine.pads)
        return Worker(engine, self._queue, self._metrics, limits, self._engine_stopped)

    def _engine_stopped(self, error: Callable[[], RerankerError]) -> None:
        """Go on with the engines that are left; without any, nobody will answer."""
        with self._stopping:
            self._alive -= 1
            if not self._alive:
                self._queue.abandon(error)

    def _encode(self, items: Sequence[Item]) -> list[EncodedPair]:
        self._check_open()
        with self._metrics.phase("tokenize"):
            return self._engines[0].encode(items)

    async def _aencode(self, items: Sequence[Item]) -> list[EncodedPair]:
        """Tokenise in the tokenizer's thread, which others get in between."""
        encoded: list[EncodedPair] = []
        for piece in slices(items, TOKENISED_AT_A_TIME):
            encoded += await asyncio.get_running_loop().run_in_executor(
                self._open_tokenizer_pool(), self._encode, piece.items
            )
        return encoded

    def _open_tokenizer_pool(self) -> ThreadPoolExecutor:
        self._check_open()
        return self._tokenizer_pool

    def _check_open(self) -> None:
        self._check_process()
        self._queue.check_open()

    def _closed(self) -> RerankerError:
        return ScorerClosedError(self._when_closed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, items: Sequence[Item], *, timeout: float | None, priority: Priority) -> list[Answers[Any]]:
        """Give the answers to consecutive parts of `items`; blocks the calling thread.

        :param timeout: Seconds until `DeadlineExceededError`; `None` waits as long as it takes.
        """
        call = Call(self._queue, items=len(items), timeout=timeout, priority=priority)
        answers: list[Answers[Any]] = []
        with call:
            for part in slices(items, self._settings.max_slice_pairs):
                call.add(part, self._encode(part.items))
                if len(call.requests) > 1:
                    answers.append(call.requests[0].future.result(call.seconds_left()))
                    call.requests.popleft()
            answers += [request.future.result(call.seconds_left()) for request in call.requests]
        self._metrics.count_request(priority, call.seconds())
        return answers

    async def _aask(self, items: Sequence[Item], *, timeout: float | None, priority: Priority) -> list[Answers[Any]]:
        """Give the answers without blocking the event loop; cancelling drops what is not yet in a batch."""
        call = Call(self._queue, items=len(items), timeout=timeout, priority=priority)
        answers: list[Answers[Any]] = []
        with call:
            async with asyncio.timeout(timeout):
                for part in slices(items, self._settings.max_slice_pairs):
                    call.add(part, await self._aencode(part.items))
                    if len(call.requests) > 1:
                        answers.append(await asyncio.wrap_future(call.requests[0].future))
                        call.requests.popleft()
                answers += [await asyncio.wrap_future(request.future) for request in call.requests]
        self._metrics.count_request(priority, call.seconds())
        return answers


def _abandon_all() -> None:
    """Stop every thread before the interpreter goes: one that is ended inside torch would abort the process."""
    for batcher in list(_open_batchers):
        batcher.abandon()


atexit.register(_abandon_all)
