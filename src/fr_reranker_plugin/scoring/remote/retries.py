"""When a request is sent again, and which error stands at the end."""

from __future__ import annotations

import logging
import random
from typing import Final

from fr_reranker_plugin.errors import OverloadedError, RemoteError, RerankerError
from fr_reranker_plugin.scoring.remote.answers import Answer

logger = logging.getLogger(__name__)

_RETRIED: Final = frozenset({429, 502, 503})
"""Busy; nobody behind the gateway; not ready. Scoring changes nothing, so that asking twice does no harm."""

_OF_A_PROXY: Final = frozenset({500, 504})
"""Retried where the reranker itself did not say so in JSON: Ray Serve answers 500 for a replica that died."""

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 30.0
"""Seconds; a server that wants to be left alone for longer is not waited for."""


class Retries:
    """The tries of one request.

    :param url: Where it goes, for the error.
    :param most: How often it may be sent again.
    """

    def __init__(self, url: str, most: int) -> None:
        self._url = url
        self._most = most
        self._tries = 0

    def wait_after(self, answer: Answer, seconds_left: float | None) -> float | None:
        """Give how long to wait before asking again; `None` if this answer stands.

        :param seconds_left: Until the answer is of no use; `None`: it always is.
        :raises OverloadedError: If the server is busy and was asked often enough, or there is no time to ask again.
        :raises RemoteError: If it is not ready.
        """
        if not _may_pass(answer):
            return None
        asked_for = answer.retry_after()
        wait = self._next_wait(asked_for)
        if self._may_wait(wait, seconds_left):
            logger.info("%s answered %d; asking again in %.2f s", self._url, answer.status, wait)
            return wait
        raise self._gave_up(answer, wait if asked_for is None else asked_for)

    def wait_after_failure(self, reason: str, seconds_left: float | None) -> float:
        """Give how long to wait before trying again to reach the server.

        :param reason: Why it was not reached.
        :raises RemoteError: If it was tried often enough, or there is no time to try again.
        """
        wait = self._next_wait(None)
        if self._may_wait(wait, seconds_left):
            logger.info("no answer from %s (%s); trying again in %.2f s", self._url, reason, wait)
            return wait
        raise RemoteError(
            f"no answer from {self._url} after {self._times()}: {reason}; is the server running? Start it with "
            "`fr-reranker serve`, or correct remote_url"
        )

    def _next_wait(self, asked_for: float | None) -> float:
        """Double the wait each time, by an uneven factor, so that many clients do not come back at one moment."""
        self._tries += 1
        if asked_for is not None:
            return asked_for * random.uniform(1.0, 1.25)  # noqa: S311 -- nothing is kept secret by it
        return float(_FIRST_WAIT * 2 ** (self._tries - 1) * random.uniform(0.5, 1.0))  # noqa: S311

    def _may_wait(self, wait: float, seconds_left: float | None) -> bool:
        in_time = seconds_left is None or wait < seconds_left
        return self._tries <= self._most and wait <= _LONGEST_WAIT and in_time

    def _gave_up(self, answer: Answer, retry_after: float) -> RerankerError:
        message = f"{self._url} answered {answer.status} after {self._times()}: {answer.reason()}"
        if answer.is_busy:
            when = "" if "retry_after" in answer.problem() else f"; try again in {retry_after:.1f} s"  # ours says it
            return OverloadedError(message + when, waiting=None, retry_after=retry_after)
        return RemoteError(f"{message}; is the server still loading, or stopping?", status=answer.status)

    def _times(self) -> str:
        return "one try" if self._tries == 1 else f"{self._tries} tries"


def _may_pass(answer: Answer) -> bool:
    """Tell whether the same request may be answered later."""
    return answer.status in _RETRIED or (answer.status in _OF_A_PROXY and not answer.problem())
