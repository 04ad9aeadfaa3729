"""Several pieces of work under way at a time, so that a scorer never waits for the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def under_way(
    items: Iterable[Item], work: Callable[[Item], Coroutine[Any, Any, Result]], *, most: int
) -> Generator[tuple[Item, Result], None, None]:
    """Yield each item with what `work` gives for it, in the order of the items.

    Close the generator, or interrupt it, and what is under way is cancelled rather than waited for.

    :param most: Items that are under way together; no more are taken ahead.
    """
    with _event_loop() as loop:
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        for item in items:
            waiting.append((item, asyncio.run_coroutine_threadsafe(work(item), loop)))
            if len(waiting) >= most:
                first, done = waiting.popleft()
                yield first, done.result()
        for first, done in waiting:
            yield first, done.result()


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread of its own, as the caller may have one; at the end its tasks are cancelled."""
    loop = asyncio.new_event_loop()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.get_loop().run_forever()

    thread = Thread(target=run, name="fr-reranker-in-flight", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
