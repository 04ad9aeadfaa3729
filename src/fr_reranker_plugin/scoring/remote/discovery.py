"""What a server is and how much it takes, found out once for all who call."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final, NamedTuple

from fr_reranker_plugin.scoring.remote.dialects import DIALECTS, Dialect, ServerInfo, server_info
from fr_reranker_plugin.scoring.remote.settings import RemoteSettings
from fr_reranker_plugin.scoring.remote.transport import Terms, Transport

logger = logging.getLogger(__name__)

_NO_SUCH_PATH: Final = frozenset({404, 405, 501})


class Service(NamedTuple):
    """How a server is asked: its dialect, and how many texts it takes in one request."""

    dialect: Dialect
    most_texts: int


@dataclass(slots=True)
class _Attempt:
    """Finding out, for all who wait for it."""

    task: asyncio.Task[Service]
    terms: Terms
    waiting: int = 0


class Discovery:
    """How one server is asked. To be made and used in one event loop.

    :param settings: Which server.
    :param transport: The connections to it.
    """

    def __init__(self, settings: RemoteSettings, transport: Transport) -> None:
        self._settings = settings
        self._transport = transport
        self._attempt: _Attempt | None = None

    async def service(self, terms: Terms) -> Service:
        """Give how the server is asked; those who come while it is being found out share the answer, or the error.

        The server is tried for as long as the most patient of them waits. What failed is tried again by the next call.
        """
        if self._attempt is None:
            shared = Terms("interactive", terms.ends_at)
            self._attempt = _Attempt(asyncio.create_task(self._found(shared)), shared)
        attempt = self._attempt
        attempt.terms.last_as_long_as(terms)
        attempt.waiting += 1
        try:
            return await asyncio.shield(attempt.task)
        except BaseException:
            if attempt.waiting == 1:
                attempt.task.cancel()
                self._attempt = None
            raise
        finally:
            attempt.waiting -= 1

    async def _found(self, terms: Terms) -> Service:
        name = self._settings.known_dialect()
        if name != "auto" and not DIALECTS[name].has_info:
            return Service(DIALECTS[name], DIALECTS[name].most_texts)
        info = await self._info(terms)
        if name == "auto":
            name = "jina" if info is None else info.dialect
        dialect = DIALECTS[name]
        logger.debug("%s is asked in the dialect %r", self._settings.base_url, name)
        most = None if info is None else info.most_texts
        return Service(dialect, min(dialect.most_texts if most is None else most, dialect.largest_part))

    async def _info(self, terms: Terms) -> ServerInfo | None:
        """Ask the server what it is; `None` if it has no `/info`, or one of another kind."""
        answer = await self._transport.send("GET", "/info", terms)
        if answer.status in _NO_SUCH_PATH:
            return None
        if not answer.is_success:
            raise answer.refusal()
        info = server_info(answer.json())
        named = self._settings.model
        if info is not None and None not in (named, info.model) and info.model != named:
            logger.warning("%s scores with the model %r; %r was named", answer.url, info.model, named)
        return info
