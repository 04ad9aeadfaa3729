"""What every request passes through: its number, its key, the count and the log line of its answer."""

from __future__ import annotations

import asyncio
import logging
import re
from time import perf_counter
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fr_reranker_plugin.serving.front_page import PATHS as PAGE_PATHS
from fr_reranker_plugin.serving.logs import with_fields
from fr_reranker_plugin.serving.notes import RequestNotes, notes_of
from fr_reranker_plugin.serving.problems import CLIENT_CLOSED, INTERNAL, KINDS, RefusedError, response_of

if TYPE_CHECKING:
    from fr_reranker_plugin.serving.door import Door

logger = logging.getLogger(__name__)

OPEN_PATHS: Final = frozenset({"/health", "/ready"}) | PAGE_PATHS
"""What needs no key: whoever watches the process has none, and the page asks for it."""

_OTHER: Final = "other"
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Gate:
    """Number, admit, count and log each request; whatever goes wrong inside is an answer.

    :param door: What the application shares.
    :param paths: The paths that the log may name; any other could hold anything.
    """

    def __init__(self, app: ASGIApp, *, door: Door, paths: frozenset[str]) -> None:
        self._app = app
        self._door = door
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, _number_of(scope), closing=self._door.readiness.state == "stopping")
        notes, started = notes_of(scope), perf_counter()
        self._door.metrics.in_flight.inc()
        try:
            await self._answer(scope, receive, answer, notes)
        finally:
            self._door.metrics.in_flight.dec()
            self._report(scope, answer, notes, perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, answer: _Answer, notes: RequestNotes) -> None:
        try:
            if notes.path not in OPEN_PATHS and not self._door.settings.keys.accepts(_authorization(scope)):
                raise RefusedError("unauthorized", "this server asks for a key: Authorization: Bearer KEY")
            await self._app(scope, receive, answer.send)
        except asyncio.CancelledError:
            await answer.refuse(
                RefusedError("shutting_down", "the server stops, and its time for answers is over"), scope
            )
            raise
        except RefusedError as refusal:
            await answer.refuse(refusal, scope)
        except Exception as error:
            logger.exception("a request failed", extra=with_fields(request_id=answer.number), exc_info=error)
            await answer.refuse(RefusedError("internal_error", INTERNAL), scope)

    def _report(self, scope: Scope, answer: _Answer, notes: RequestNotes, seconds: float) -> None:
        status = KINDS[CLIENT_CLOSED].status if notes.code == CLIENT_CLOSED else answer.status
        endpoint = notes.path if notes.path in self._paths else _OTHER
        self._door.metrics.count_request(endpoint, status, seconds, notes)
        level = logging.DEBUG if endpoint in OPEN_PATHS and status < 400 else logging.INFO  # noqa: PLR2004
        logger.log(
            level,
            "request",
            extra=with_fields(
                request_id=answer.number,
                method=scope["method"] if scope["method"] in _METHODS else _OTHER,
                endpoint=endpoint,
                status=status,
                code=notes.code,
                milliseconds=round(seconds * 1000, 1),
                priority=notes.priority,
                texts=notes.texts,
                truncated=notes.truncated,
                tokens=notes.tokens,
            ),
        )


_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class _Answer:
    """The answer to one request, on its way out.

    :param closing: Whether the client is to open a new connection for its next request.
    """

    def __init__(self, send: Send, number: str, *, closing: bool) -> None:
        self.number: Final = number
        self.status = 0
        self._send = send
        self._closing = closing

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.number
            if self._closing:
                headers["Connection"] = "close"
        await self._send(message)

    async def refuse(self, refusal: RefusedError, scope: Scope) -> None:
        """Answer with an error, unless an answer has begun."""
        notes = notes_of(scope)
        notes.code = refusal.code
        if not self.status:
            await response_of(refusal, notes.path)(scope, _nothing, self.send)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _authorization(scope: Scope) -> bytes | None:
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    return values[0] if len(values) == 1 else None


def _number_of(scope: Scope) -> str:
    """Give the number that the client gave its request, if it may stand in a log; else a new one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _PLAIN_ID.fullmatch(given) else uuid4().hex
