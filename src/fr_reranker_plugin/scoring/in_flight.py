"""Several pieces of work under way at a time, so that a scorer never waits for the next one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def under_way(items: Iterable[Item], work: Callable[[Item], Result], *, most: int) -> Iterator[tuple[Item, Result]]:
    """Yield each item with what `work` gives for it, in the order of the items.

    :param most: Items that are under way together; no more are taken ahead.
    """
    with ThreadPoolExecutor(most) as pool:
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) >= most:
                first, done = waiting.popleft()
                yield first, done.result()
        for first, done in waiting:
            yield first, done.result()
