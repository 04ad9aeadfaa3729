"""Open connections to one server, and what is asked over them; everything here runs in the background loop."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from fr_reranker_plugin.errors import DeadlineExceededError, MissingDependencyError, RemoteError
from fr_reranker_plugin.scoring.ranking import check_finite
from fr_reranker_plugin.scoring.remote.answers import Answer
from fr_reranker_plugin.scoring.remote.dialects import DIALECTS, Dialect, ServerInfo, server_info
from fr_reranker_plugin.scoring.remote.requests import Part, encoded, gathered, parts
from fr_reranker_plugin.scoring.remote.retries import Retries
from fr_reranker_plugin.scoring.remote.settings import RemoteSettings
from fr_reranker_plugin.scoring.scorer import Logits, Pair
from fr_reranker_plugin.scoring.settings import Priority

if TYPE_CHECKING:
    import ssl

    import httpx

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT: Final = 10.0
"""Seconds in which a server that is there takes a connection; what it then needs is the caller's affair."""

_KEPT_OPEN: Final = 60.0
"""Seconds for which an idle connection is kept; `fr-reranker serve` closes them after 75."""

_PARTS_AT_ONCE: Final = 8
"""Requests of one call that are under way together."""

_NO_SUCH_PATH: Final = frozenset({404, 405, 501})
_TOO_LATE: Final = 504


class Service(NamedTuple):
    """How a server is asked: its dialect, and how many texts it takes in one request."""

    dialect: Dialect
    most_texts: int


class Terms(NamedTuple):
    """What one call may take: its priority, and when in the loop's time it ends (`None`: never)."""

    priority: Priority
    ends_at: float | None

    def seconds_left(self) -> float | None:
        """Seconds until the answer is of no use; `None`: it always is."""
        return None if self.ends_at is None else max(0.0, self.ends_at - asyncio.get_running_loop().time())

    def headers(self) -> dict[str, str]:
        """Tell the server; one that does not know these headers passes over them."""
        left = self.seconds_left()
        late = {} if left is None or math.isinf(left) else {"X-Request-Timeout": f"{max(left, 0.001):.3f}"}
        return {"X-Priority": self.priority, **late}


class RemoteConnection:
    """A pool of connections to one server, with what is known of it.

    :param settings: Which server.
    :raises MissingDependencyError: If httpx is not installed.
    """

    def __init__(self, settings: RemoteSettings) -> None:
        self.loop: Final = asyncio.get_running_loop()
        self._settings = settings
        self._client = _client(settings)
        self._service: Service | None = None
        self._asking = asyncio.Lock()
        self._calls: set[asyncio.Task[object]] = set()

    async def warm_up(self) -> None:
        """Find out how the server is asked, and thereby whether it is there and ready."""
        await self._known_service(Terms("interactive", None))

    async def score(self, pairs: Sequence[Pair], *, timeout: float | None, priority: Priority) -> Logits:
        """Give one logit per pair, in order; see `RemoteScorer.score`."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- a coroutine of a loop runs in a task
        self._calls.add(task)
        try:
            async with asyncio.timeout(timeout):
                terms = Terms(priority, None if timeout is None else self.loop.time() + timeout)
                return await self._scored(pairs, terms)
        except DeadlineExceededError:  # the server's own, which says more
            raise
        except TimeoutError:
            raise DeadlineExceededError(f"no answer within {timeout} s for {len(pairs)} pairs") from None
        finally:
            self._calls.discard(task)

    async def aclose(self) -> None:
        """Close all connections once what is under way is answered."""
        if self._calls:
            await asyncio.wait(self._calls)
        await self._client.aclose()

    async def _scored(self, pairs: Sequence[Pair], terms: Terms) -> Logits:
        service, slots = await self._known_service(terms), asyncio.Semaphore(_PARTS_AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._ask(part, service.dialect, terms, slots))
                    for part in parts(pairs, service.dialect, service.most_texts)
                ]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        logits = service.dialect.logits(gathered(len(pairs), [answer for task in tasks for answer in task.result()]))
        for pair, logit in zip(pairs, logits, strict=True):
            check_finite(pair, logit)
        return logits

    async def _ask(
        self, part: Part, dialect: Dialect, terms: Terms, slots: asyncio.Semaphore
    ) -> list[tuple[Part, Logits]]:
        """Ask for one part; a server that finds it too large is asked for its halves."""
        content = encoded(dialect.body(part.pairs, self._settings.model))
        async with slots:
            answer = await self._send("POST", dialect.path, terms, content)
        if answer.is_too_large and len(part.pairs) > 1:
            return [one for half in part.halves() for one in await self._ask(half, dialect, terms, slots)]
        if answer.status == _TOO_LATE:
            raise DeadlineExceededError(f"{answer.url} gave no answer in time: {answer.reason()}")
        if not answer.is_success:
            raise answer.refusal()
        return [(part, dialect.read(answer.json(), len(part.pairs)))]

    async def _known_service(self, terms: Terms) -> Service:
        """Give how the server is asked; the first call finds out, and others that come meanwhile wait for it."""
        async with self._asking:
            if self._service is None:
                self._service = await self._found_service(terms)
            return self._service

    async def _found_service(self, terms: Terms) -> Service:
        name = self._settings.known_dialect()
        if name != "auto" and not DIALECTS[name].has_info:
            return Service(DIALECTS[name], DIALECTS[name].most_texts)
        info = await self._info(terms)
        if name == "auto":
            name = "jina" if info is None else info.dialect
        dialect = DIALECTS[name]
        logger.debug("%s is asked in the dialect %r", self._settings.base_url, name)
        most = None if info is None else info.most_texts
        return Service(dialect, dialect.most_texts if most is None else most)

    async def _info(self, terms: Terms) -> ServerInfo | None:
        """Ask the server what it is; `None` if it has no `/info`, or one of another kind."""
        answer = await self._send("GET", "/info", terms)
        if answer.status in _NO_SUCH_PATH:
            return None
        if not answer.is_success:
            raise answer.refusal()
        info = server_info(answer.json())
        named = self._settings.model
        if info is not None and None not in (named, info.model) and info.model != named:
            logger.warning("%s scores with the model %r; %r was named", answer.url, info.model, named)
        return info

    async def _send(self, method: str, path: str, terms: Terms, content: bytes | None = None) -> Answer:
        """Send a request until it is answered for good.

        :raises RemoteError: If there is no answer, or the server is not ready.
        :raises OverloadedError: If it is busy.
        """
        import httpx

        url = self._settings.base_url + path
        retries = Retries(url, self._settings.max_retries)
        while True:
            try:
                response = await self._client.request(method, url, content=content, headers=terms.headers())
            except httpx.TransportError as error:
                wait = retries.wait_after_failure(_reason(error), terms.seconds_left())
            except httpx.HTTPError as error:
                raise RemoteError(f"the answer of {url} cannot be read: {error}") from error
            else:
                answer = _answer(url, response, self._settings)
                again = retries.wait_after(answer, terms.seconds_left())
                if again is None:
                    return answer
                wait = again
            await asyncio.sleep(wait)


def _client(settings: RemoteSettings) -> httpx.AsyncClient:
    try:
        import httpx
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "scoring on a server needs httpx: pip install 'fr-reranker-plugin[remote]'"
        ) from error
    headers = {b"Content-Type": b"application/json"}
    if settings.api_key is not None:
        headers[b"Authorization"] = b"Bearer " + settings.api_key.encode()
    return httpx.AsyncClient(
        headers=headers,
        verify=_certificates(),
        timeout=httpx.Timeout(None, connect=_CONNECT_TIMEOUT),
        limits=httpx.Limits(max_keepalive_connections=None, keepalive_expiry=_KEPT_OPEN),
    )


@cache
def _certificates() -> ssl.SSLContext:
    """Read the certificates that are trusted, once for all scorers: it takes longer than many an answer."""
    import httpx

    return httpx.create_ssl_context()


def _answer(url: str, response: httpx.Response, settings: RemoteSettings) -> Answer:
    return Answer(url, response.status_code, dict(response.headers), response.content, settings.api_key)


def _reason(error: BaseException) -> str:
    """Give why a server was not reached, in the words of the system: they stand at the beginning of the chain."""
    reason = str(error) or type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            reason = os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)  # below 0: names not found
        cause = cause.__cause__ or cause.__context__
    return reason
