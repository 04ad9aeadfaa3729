"""What is asked of one server, and what is known of it; everything here runs in the background loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from fr_reranker_plugin.errors import DeadlineExceededError
from fr_reranker_plugin.scoring.ranking import check_finite
from fr_reranker_plugin.scoring.remote.answers import Answer
from fr_reranker_plugin.scoring.remote.dialects import Dialect
from fr_reranker_plugin.scoring.remote.discovery import Discovery
from fr_reranker_plugin.scoring.remote.requests import Part, encoded, gathered, parts
from fr_reranker_plugin.scoring.remote.settings import RemoteSettings
from fr_reranker_plugin.scoring.remote.transport import Terms, Transport
from fr_reranker_plugin.scoring.remote.turns import Turns
from fr_reranker_plugin.scoring.scorer import Logits, Pair
from fr_reranker_plugin.scoring.settings import Priority

_PARTS_AT_ONCE: Final = 8
"""Requests of one call that are under way together."""

_TOO_LATE: Final = 504


class RemoteConnection:
    """Open connections to one server, and how it is asked once that is known.

    :param settings: Which server.
    :raises MissingDependencyError: If httpx is not installed.
    """

    def __init__(self, settings: RemoteSettings) -> None:
        self.loop: Final = asyncio.get_running_loop()
        self._settings = settings
        self._transport = Transport(settings)
        self._discovery = Discovery(settings, self._transport)
        self._calls: set[asyncio.Task[object]] = set()

    async def warm_up(self) -> None:
        """Find out how the server is asked, and thereby whether it is there and ready."""
        with self._under_way():
            await self._discovery.service(Terms("interactive", None))

    async def score(self, pairs: Sequence[Pair], *, timeout: float | None, priority: Priority) -> Logits:
        """Give one logit per pair, in order; see `RemoteScorer.score`."""
        with self._under_way():
            try:
                async with asyncio.timeout(timeout):
                    terms = Terms(priority, None if timeout is None else self.loop.time() + timeout)
                    return await self._scored(pairs, terms)
            except DeadlineExceededError:  # the server's own, which says more
                raise
            except TimeoutError:
                raise DeadlineExceededError(f"no answer within {timeout} s for {len(pairs)} pairs") from None

    async def aclose(self) -> None:
        """Close all connections once what is under way is answered."""
        if self._calls:
            await asyncio.wait(self._calls)
        await self._transport.aclose()

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        """Have the connections stay open until the block ends."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- a coroutine of a loop runs in a task
        self._calls.add(task)
        try:
            yield
        finally:
            self._calls.discard(task)

    async def _scored(self, pairs: Sequence[Pair], terms: Terms) -> Logits:
        service, turns = await self._discovery.service(terms), Turns(_PARTS_AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._ask(part, service.dialect, terms, turns))
                    for part in parts(pairs, service.dialect, service.most_texts)
                ]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        logits = service.dialect.logits(gathered(len(pairs), [answer for task in tasks for answer in task.result()]))
        for pair, logit in zip(pairs, logits, strict=True):
            check_finite(pair, logit)
        return logits

    async def _ask(self, part: Part, dialect: Dialect, terms: Terms, turns: Turns) -> list[tuple[Part, Logits]]:
        """Ask for one part; a server that finds it too large is asked for its halves."""

        async def send() -> Answer:
            content = encoded(dialect.body(part.pairs, self._settings.model))
            return await self._transport.send("POST", dialect.path, terms, content, gives_way=turns.are_several)

        answer = await turns.answer(send)
        if answer.is_too_large and len(part.pairs) > 1:
            return [one for half in part.halves() for one in await self._ask(half, dialect, terms, turns)]
        if answer.status == _TOO_LATE:
            raise DeadlineExceededError(f"{answer.url} gave no answer in time: {answer.reason()}")
        if not answer.is_success:
            raise answer.refusal()
        return [(part, dialect.read(answer.json(), len(part.pairs)))]
