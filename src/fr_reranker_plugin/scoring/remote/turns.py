"""How many requests of one call are under way together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fr_reranker_plugin.scoring.remote.answers import Answer


class Turns:
    """Places for the parts of one call: fewer, once the server was too busy with the others to take one.

    :param places: How many parts may be under way together at first.
    """

    def __init__(self, places: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._under_way = 0

    def are_several(self) -> bool:
        """Whether more than one part is under way, so that a busy server may be busy with this very call."""
        return self._under_way > 1

    async def answer(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask for a part when there is a place for it; a place in which the server refused it is not used again.

        :param ask: Gives an answer that says the server is busy only while `are_several`. An error ends the call.
        """
        while True:
            await self._places.acquire()
            self._under_way += 1
            try:
                answer = await ask()
            finally:
                self._under_way -= 1
            if not answer.is_busy:
                self._places.release()
                return answer
