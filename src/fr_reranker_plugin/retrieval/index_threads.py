"""Use an index without blocking the event loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_threads: Final = ThreadPoolExecutor(max_workers=8, thread_name_prefix="fr-reranker-index")
"""Of their own, so that what fills asyncio's default ones does not keep searches waiting; FAISS lets go of the GIL."""


async def in_index_thread(
    call: Callable[_Arguments, _Result], *arguments: _Arguments.args, **named: _Arguments.kwargs
) -> _Result:
    """Call a function that searches or changes an index in a thread, with the context variables of the caller."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_threads, lambda: context.run(call, *arguments, **named))
