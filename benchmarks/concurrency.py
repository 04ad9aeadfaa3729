"""W4: callers that share one model, as threads or as tasks of one event loop, in a closed loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter

from benchmarks.rounds import Timed

Request = Sequence[tuple[str, str]]


def by_threads(score: Callable[[Request], object], requests: Sequence[Request], callers: int) -> Timed:
    """Share `requests` among threads; each takes the next one when its last is answered.

    :raises Exception: What the first failing request raised.
    """
    waiting = iter(requests)
    lock, start_line = threading.Lock(), threading.Barrier(callers + 1)
    latencies: list[float] = []
    errors: list[Exception] = []

    def caller() -> None:
        start_line.wait()
        while True:
            with lock:
                request = next(waiting, None)
            if request is None or errors:
                return
            sent = perf_counter()
            try:
                score(request)
            except Exception as error:  # noqa: BLE001 -- raised below, in the caller's thread
                errors.append(error)
                return
            latencies.append(perf_counter() - sent)

    threads = [threading.Thread(target=caller, daemon=True) for _ in range(callers)]
    for thread in threads:
        thread.start()
    start_line.wait()
    start = perf_counter()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return Timed(perf_counter() - start, latencies, [])


def by_tasks(ascore: Callable[[Request], Awaitable[object]], requests: Sequence[Request], callers: int) -> Timed:
    """Share `requests` among tasks of one event loop; each takes the next one when its last is answered."""
    latencies: list[float] = []
    waiting = iter(requests)

    async def caller() -> None:
        for request in waiting:
            sent = perf_counter()
            await ascore(request)
            latencies.append(perf_counter() - sent)

    async def all_callers() -> float:
        start = perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(caller())
        return perf_counter() - start

    seconds = asyncio.run(all_callers())
    return Timed(seconds, latencies, [])
