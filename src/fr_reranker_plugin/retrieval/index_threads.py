"""Use an index without blocking the event loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from fr_reranker_plugin.scoring.forking import after_fork_in_child

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_THREADS: Final = 8


class IndexThreads:
    """Threads of their own, so that what fills asyncio's default ones keeps no search waiting.

    FAISS lets go of the GIL. Changes have others than searches: one holds its thread while it waits for its turn.
    """

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start anew; also in a forked child, where the threads of its parent are not."""
        self.readers = ThreadPoolExecutor(_THREADS, thread_name_prefix="fr-reranker-index")
        self.writers = ThreadPoolExecutor(_THREADS, thread_name_prefix="fr-reranker-index-change")


_threads: Final = IndexThreads()
after_fork_in_child(_threads.start)


async def in_index_thread(
    call: Callable[_Arguments, _Result], *arguments: _Arguments.args, **named: _Arguments.kwargs
) -> _Result:
    """Call a function that reads an index in a thread, with the context variables of the caller."""
    return await _in_thread_of(_threads.readers, lambda: call(*arguments, **named))


async def in_change_thread(
    call: Callable[_Arguments, _Result], *arguments: _Arguments.args, **named: _Arguments.kwargs
) -> _Result:
    """Call a function that changes, saves or closes an index in a thread, with the context variables of the caller."""
    return await _in_thread_of(_threads.writers, lambda: call(*arguments, **named))


async def _in_thread_of(threads: ThreadPoolExecutor, call: Callable[[], _Result]) -> _Result:
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(threads, lambda: context.run(call))
