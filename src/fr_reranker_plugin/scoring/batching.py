"""Score the pairs of many callers together: one queue, one thread for each engine, no waiting window."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from typing import Final, Self

from fr_reranker_plugin.errors import RerankerError, ScorerClosedError
from fr_reranker_plugin.scoring.calls import Call, slices
from fr_reranker_plugin.scoring.metrics import Health, Metrics, Snapshot
from fr_reranker_plugin.scoring.request_queue import RequestQueue
from fr_reranker_plugin.scoring.scheduling import Limits
from fr_reranker_plugin.scoring.scorer import EncodedPair, Engine, Logits, Pair
from fr_reranker_plugin.scoring.settings import BatchSettings, Priority
from fr_reranker_plugin.scoring.windows import Span
from fr_reranker_plugin.scoring.worker import Worker

_open_scorers: Final[weakref.WeakSet[BatchingScorer]] = weakref.WeakSet()

FORKED: Final = (
    "this process was forked from one that had loaded a model; the model's threads live in the parent only. "
    "Fork before the first use, or start the workers with the 'spawn' method"
)


class BatchingScorer:
    """Share one loaded model among threads and event loops.

    Each engine has a thread of its own, and all take from one queue. No thread waits for a batch to fill: while one
    batch runs the next one gathers, so batches grow with the load. See `Schedule` for who goes first.

    :param engines: The loaded model, or copies of it on several devices. They are used until `close`.
    :param settings: Bounds of a batch and of the queue.
    """

    def __init__(self, engines: Engine | Sequence[Engine], settings: BatchSettings | None = None) -> None:
        self._engines: list[Engine] = list(engines) if isinstance(engines, Sequence) else [engines]
        self._settings = (settings or BatchSettings()).for_device(None)
        self._process = os.getpid()
        self._metrics = Metrics()
        self._queue = RequestQueue(self._settings.max_waiting_pairs, self._metrics)
        self._tokenizer_pool = ThreadPoolExecutor(1, thread_name_prefix="fr-reranker-tokenizer")
        self._stopping = threading.Lock()
        self._alive = len(self._engines)
        self._workers = [self._worker_for(engine) for engine in self._engines]
        self._queue.rates = [worker.rate for worker in self._workers]
        for worker in self._workers:
            worker.thread.start()
        _open_scorers.add(self)

    def score(
        self, pairs: Sequence[Pair], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> Logits:
        """Give one raw logit per pair, in order; blocks the calling thread.

        :param timeout: Seconds until `DeadlineExceededError`; `None` waits as long as it takes.
        :param priority: `"bulk"` lets the requests that someone waits for go first.
        :raises OverloadedError: If the queue is full. Nothing of the request has been scored then.
        :raises ScoringError: If the model fails on a pair of this request.
        :raises DeviceLostError: If the device failed for good.
        :raises ScorerClosedError: If the scorer is closed, or was made in the parent of this forked process.
        """
        call = Call(self._queue, pairs=len(pairs), timeout=timeout, priority=priority)
        answers: list[Logits] = []
        with call:
            for part in slices(pairs, self._settings.max_slice_pairs):
                call.add(part, self._encode(part.pairs))
                if len(call.requests) > 1:
                    answers.append(call.requests[0].future.result(call.seconds_left()))
                    call.requests.popleft()
            answers += [request.future.result(call.seconds_left()) for request in call.requests]
        self._metrics.count_request(priority, call.seconds())
        return Logits.joined(answers)

    async def ascore(
        self, pairs: Sequence[Pair], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> Logits:
        """Give one raw logit per pair, in order, without blocking the event loop.

        Cancelling the task drops its pairs that are not yet in a batch. Parameters and errors are those of `score`.
        """
        call = Call(self._queue, pairs=len(pairs), timeout=timeout, priority=priority)
        answers: list[Logits] = []
        loop = asyncio.get_running_loop()
        with call:
            async with asyncio.timeout(timeout):
                for part in slices(pairs, self._settings.max_slice_pairs):
                    encoded = await loop.run_in_executor(self._open_tokenizer_pool(), self._encode, part.pairs)
                    call.add(part, encoded)
                    if len(call.requests) > 1:
                        answers.append(await asyncio.wrap_future(call.requests[0].future))
                        call.requests.popleft()
                answers += [await asyncio.wrap_future(request.future) for request in call.requests]
        self._metrics.count_request(priority, call.seconds())
        return Logits.joined(answers)

    def windows(self, pairs: Sequence[Pair], *, overlap: int) -> list[list[Span]]:
        """Give where the passage of each pair is cut into windows that fit; see `cut_passages`."""
        self._check_open()
        with self._metrics.phase("tokenize"):
            return self._engines[0].windows(pairs, overlap=overlap)

    async def awindows(self, pairs: Sequence[Pair], *, overlap: int) -> list[list[Span]]:
        """Give where each passage is cut without blocking the event loop."""
        cut = partial(self.windows, pairs, overlap=overlap)
        return await asyncio.get_running_loop().run_in_executor(self._open_tokenizer_pool(), cut)

    def snapshot(self) -> Snapshot:
        """Counters since the start, and what waits now."""
        waiting, oldest = self._queue.waiting()
        budgets = [worker.budget.tokens for worker in self._workers]
        return self._metrics.snapshot(waiting, oldest=oldest, budgets=budgets, rates=self._queue.rates)

    def health(self) -> Health:
        """Whether the engines' threads run, and when they last answered."""
        _, oldest = self._queue.waiting()
        last = self._metrics.last_batch_at
        return Health(
            engines=len(self._workers),
            engines_alive=sum(worker.thread.is_alive() for worker in self._workers),
            seconds_since_last_batch=None if last is None else monotonic() - last,
            oldest_waiting_seconds=oldest,
        )

    def close(self) -> None:
        """Answer what is queued, then stop. Later calls are refused; closing twice does nothing."""
        self._queue.close(_closed)
        if self._process == os.getpid():
            for worker in self._workers:
                if worker.thread is not threading.current_thread():
                    worker.thread.join()
        self._tokenizer_pool.shutdown(wait=False)

    def abandon(self) -> None:
        """Fail what is not answered yet and stop after the batches that are running."""
        self._queue.abandon(lambda: ScorerClosedError("the interpreter is shutting down"))
        self.close()

    def _worker_for(self, engine: Engine) -> Worker:
        settings = self._settings
        limits = Limits(settings.max_batch_tokens or 1, settings.max_batch_size, engine.pads)
        return Worker(engine, self._queue, self._metrics, limits, self._engine_stopped)

    def _engine_stopped(self, error: Callable[[], RerankerError]) -> None:
        """Go on with the engines that are left; without any, nobody will answer."""
        with self._stopping:
            self._alive -= 1
            if not self._alive:
                self._queue.abandon(error)

    def _encode(self, pairs: Sequence[Pair]) -> list[EncodedPair]:
        self._check_open()
        with self._metrics.phase("tokenize"):
            return self._engines[0].encode(pairs)

    def _open_tokenizer_pool(self) -> ThreadPoolExecutor:
        self._check_open()
        return self._tokenizer_pool

    def _check_open(self) -> None:
        if self._process != os.getpid():
            raise ScorerClosedError(FORKED)
        self._queue.check_open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _closed() -> RerankerError:
    return ScorerClosedError("this scorer was closed; ask shared_scorer() for a new one")


def _abandon_all() -> None:
    """Stop every scorer before the interpreter goes: a thread that is ended inside torch would abort the process."""
    for scorer in list(_open_scorers):
        scorer.abandon()


atexit.register(_abandon_all)
