"""A scorer whose model runs elsewhere: in `fr-reranker serve`, or in a server of another make."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Self, TypeVar

from fr_reranker_plugin.scoring.remote.connection import RemoteConnection
from fr_reranker_plugin.scoring.remote.event_loop import LOOP
from fr_reranker_plugin.scoring.remote.settings import RemoteSettings
from fr_reranker_plugin.scoring.scorer import Logits, Pair
from fr_reranker_plugin.scoring.settings import Priority, check_priority

Result = TypeVar("Result")


class RemoteScorer:
    """Scores pairs on a server; this process loads no model, and does not import torch.

    Threads and event loops, any number of them, share its open connections. Long texts are cut as the server does it.
    Copies are cheap and open connections of their own; a pickle does not carry the key. After a fork the child opens
    connections of its own. Using a closed scorer opens it again.

    :param settings: Which server, and how it is asked; or just its address.
    :raises SettingsError: If the address is not one.
    """

    def __init__(self, settings: RemoteSettings | str) -> None:
        self.settings = RemoteSettings(url=settings) if isinstance(settings, str) else settings
        self._connection: RemoteConnection | None = None  # is read and changed in the background loop only
        self._forgotten: weakref.finalize[[RemoteConnection], RemoteScorer] | None = None

    @property
    def is_warm(self) -> bool:
        """Whether the server was asked already."""
        return self._connection is not None

    def warm_up(self) -> None:
        """Find out how the server is asked, and thereby whether it is there, ready, and takes the key.

        :raises RemoteError: If it is not; a later call tries again.
        """
        self._waited_for(self._warm_up)

    async def awarm_up(self) -> None:
        """Find out how the server is asked, without blocking the event loop; see `warm_up`."""
        await self._awaited(self._warm_up)

    def score(
        self, pairs: Sequence[Pair], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> Logits:
        """Give one raw logit per pair, in order; blocks the calling thread. No pairs ask nothing.

        A server that is busy, not ready or not there is asked again, after the time that it names or a growing one.

        :param timeout: Seconds until `DeadlineExceededError`, all tries included; the server is told what is left.
            `None` waits as long as it takes.
        :param priority: `"bulk"` lets the requests that someone waits for go first, on a server that knows priorities.
        :raises RemoteError: If the server cannot be reached, refuses, or gives an answer that cannot be used.
        :raises OverloadedError: If it stays busy.
        :raises ScoringError: If a logit is not finite.
        """
        check_priority(priority)
        if not pairs:
            return Logits()
        return self._waited_for(lambda: self._score(pairs, timeout, priority))

    async def ascore(
        self, pairs: Sequence[Pair], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> Logits:
        """Give one raw logit per pair without blocking the event loop; parameters and errors are those of `score`.

        Cancelling the task closes its connections, which tells the server to drop the pairs.
        """
        check_priority(priority)
        if not pairs:
            return Logits()
        return await self._awaited(lambda: self._score(pairs, timeout, priority))

    def close(self) -> None:
        """Close the connections once what is under way is answered."""
        if self._connection is not None:
            self._waited_for(self._close)

    async def aclose(self) -> None:
        """Close the connections without blocking the event loop; see `close`."""
        if self._connection is not None:
            await self._awaited(self._close)

    async def _warm_up(self) -> None:
        await self._open().warm_up()

    async def _score(self, pairs: Sequence[Pair], timeout: float | None, priority: Priority) -> Logits:
        return await self._open().score(pairs, timeout=timeout, priority=priority)

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if self._forgotten is not None:
            self._forgotten.detach()
        if connection is None:
            return
        if LOOP.is_running(connection.loop):
            await connection.aclose()
        else:
            LOOP.keep(connection)

    def _open(self) -> RemoteConnection:
        if self._connection is not None and not LOOP.is_running(self._connection.loop):
            LOOP.keep(self._connection)
            self._connection = None
        if self._connection is None:
            self._connection = RemoteConnection(self.settings)
            self._forgotten = weakref.finalize(self, _close_later, self._connection)
            self._forgotten.atexit = False
        return self._connection

    def _begun(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Future[Result]:
        return asyncio.run_coroutine_threadsafe(work(), LOOP.running())

    def _waited_for(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        future = self._begun(work)
        try:
            return future.result()
        finally:
            future.cancel()  # where the wait was interrupted

    async def _awaited(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        return await asyncio.wrap_future(self._begun(work))

    def __copy__(self) -> Self:
        return type(self)(self.settings)

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return type(self)(self.settings)

    def __reduce__(self) -> tuple[type[RemoteScorer], tuple[RemoteSettings]]:
        return type(self), (replace(self.settings, api_key=None),)


def _close_later(connection: RemoteConnection) -> None:
    """Close for a scorer that was dropped without `close`: not here, where the garbage collector may hold any lock."""
    if LOOP.is_running(connection.loop):
        connection.loop.call_soon_threadsafe(_begin_closing, connection)
    else:
        LOOP.keep(connection)


def _begin_closing(connection: RemoteConnection) -> None:
    closing = connection.loop.create_task(connection.aclose())
    _closing.add(closing)
    closing.add_done_callback(_closing.discard)


_closing: set[asyncio.Task[None]] = set()
"""Tasks that the loop alone would not hold."""
