"""Requests to one server over connections that stay open, sent until they are answered for good."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from fr_reranker_plugin.errors import MissingDependencyError, RemoteError, SettingsError
from fr_reranker_plugin.scoring.remote.answers import Answer
from fr_reranker_plugin.scoring.remote.retries import Retries
from fr_reranker_plugin.scoring.remote.settings import RemoteSettings
from fr_reranker_plugin.scoring.settings import Priority

if TYPE_CHECKING:
    import ssl

    import httpx

_CONNECT_TIMEOUT: Final = 10.0
"""Seconds in which a server that is there takes a connection; what it then needs is the caller's affair."""

_KEPT_OPEN: Final = 60.0
"""Seconds for which an idle connection is kept; `fr-reranker serve` closes them after 75."""


@dataclass(slots=True)
class Terms:
    """What one call may take: its priority, and when in the loop's time it ends (`None`: never)."""

    priority: Priority
    ends_at: float | None

    def last_as_long_as(self, other: Terms) -> None:
        """End no sooner than another call that waits for the same."""
        ends = (self.ends_at, other.ends_at)
        self.ends_at = None if None in ends else max(end for end in ends if end is not None)

    def seconds_left(self) -> float | None:
        """Seconds until the answer is of no use; `None`: it always is."""
        return None if self.ends_at is None else max(0.0, self.ends_at - asyncio.get_running_loop().time())

    def headers(self) -> dict[str, str]:
        """Tell the server; one that does not know these headers passes over them."""
        left = self.seconds_left()
        late = {} if left is None or math.isinf(left) else {"X-Request-Timeout": f"{max(left, 0.001):.3f}"}
        return {"X-Priority": self.priority, **late}


class Transport:
    """A pool of connections to one server; to be made and used in one event loop.

    :param settings: Which server.
    :raises MissingDependencyError: If httpx is not installed.
    """

    def __init__(self, settings: RemoteSettings) -> None:
        self._settings = settings
        self._client = _client(settings)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def send(
        self,
        method: str,
        path: str,
        terms: Terms,
        content: bytes | None = None,
        *,
        gives_way: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Send a request, again where the server is busy, not ready or not there, and give the answer that stands.

        :param path: Below the address of the server.
        :param content: JSON.
        :param gives_way: Whether the answer of a busy server is given back rather than asked for again.
        :raises RemoteError: If there is no answer, or the server is not ready.
        :raises OverloadedError: If it is busy.
        :raises SettingsError: If the address is none after all.
        """
        import httpx

        url = self._settings.base_url + path
        retries = Retries(url, self._settings.max_retries)
        while True:
            try:
                response = await self._client.request(method, url, content=content, headers=terms.headers())
            except httpx.TransportError as error:
                wait = retries.wait_after_failure(_reason(error), terms.seconds_left())
            except (httpx.InvalidURL, UnicodeError) as error:
                raise SettingsError(f"remote_url cannot be used, as {url} is no address: {error}") from error
            except httpx.HTTPError as error:
                raise RemoteError(f"the answer of {url} cannot be read: {error}") from error
            else:
                answer = self._answer(url, response)
                if answer.is_busy and gives_way():
                    return answer
                again = retries.wait_after(answer, terms.seconds_left())
                if again is None:
                    return answer
                wait = again
            await asyncio.sleep(wait)

    def _answer(self, url: str, response: httpx.Response) -> Answer:
        key = self._settings.api_key
        return Answer(url, response.status_code, dict(response.headers), response.content, secret=key)


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


def _reason(error: BaseException) -> str:
    """Give why a server was not reached, in the words of the system: they stand at the beginning of the chain."""
    reason = str(error) or type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError) and cause.errno:
            reason = os.strerror(cause.errno)  # its own words have the address again
        elif isinstance(cause, OSError) and cause.strerror:
            reason = cause.strerror
        # a group has one error for each address of a name
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__ or cause.__context__
    return reason
