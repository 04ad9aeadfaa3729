"""Every error that the server answers with: a code, an HTTP status and a sentence, as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from fr_reranker_plugin.errors import (
    DeadlineExceededError,
    DeviceLostError,
    OverloadedError,
    RerankerError,
    ScorerClosedError,
    ScoringError,
    SettingsError,
)


class Kind(NamedTuple):
    """One kind of error.

    :param status: The HTTP status.
    :param tei: What text-embeddings-inference calls it in `error_type`.
    """

    status: int
    tei: str


CLIENT_CLOSED: Final = "client_closed"

KINDS: Final = {
    "invalid_json": Kind(400, "Validation"),
    "unauthorized": Kind(401, "Unauthorized"),
    "not_found": Kind(404, "Validation"),
    "method_not_allowed": Kind(405, "Validation"),
    "body_too_slow": Kind(408, "Validation"),
    "body_too_large": Kind(413, "Validation"),
    "too_many_texts": Kind(422, "Validation"),
    "text_too_long": Kind(422, "Validation"),
    "invalid_request": Kind(422, "Validation"),
    "overloaded": Kind(429, "Overloaded"),
    CLIENT_CLOSED: Kind(499, "Backend"),  # nobody reads it; it is counted and logged
    "scoring_failed": Kind(500, "Backend"),
    "internal_error": Kind(500, "Backend"),
    "not_ready": Kind(503, "Unhealthy"),
    "device_lost": Kind(503, "Unhealthy"),
    "shutting_down": Kind(503, "Unhealthy"),
    "deadline_exceeded": Kind(504, "Backend"),
}
"""All codes."""

_CODES_OF_ERRORS: Final[tuple[tuple[type[RerankerError], str], ...]] = (
    (SettingsError, "invalid_request"),
    (OverloadedError, "overloaded"),
    (DeadlineExceededError, "deadline_exceeded"),
    (ScoringError, "scoring_failed"),
    (DeviceLostError, "device_lost"),
    (ScorerClosedError, "shutting_down"),
)
_NOT_READY_FOR: Final = 5.0
"""Seconds after which a client may ask again where nothing better is known."""

INTERNAL: Final = "the server failed on this request; this is a bug, and the server's log says where"


class RefusedError(Exception):
    """A request that is answered with an error.

    :param code: One of `KINDS`.
    :param sentence: What was expected, what came, what to do.
    :param retry_after: Seconds after which asking again makes sense.
    :param closes: Whether the connection is of no use afterwards, as the rest of the body is not read.
    """

    def __init__(self, code: str, sentence: str, *, retry_after: float | None = None, closes: bool = False) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.closes = closes
        self.retry_after = _NOT_READY_FOR if retry_after is None and KINDS[code].status == 503 else retry_after  # noqa: PLR2004


def refusal_of(error: RerankerError) -> RefusedError:
    """Give the answer to a request on which the library raised `error`."""
    for kind, code in _CODES_OF_ERRORS:
        if isinstance(error, kind):
            retry_after = error.retry_after if isinstance(error, OverloadedError) else None
            return RefusedError(code, str(error), retry_after=retry_after)
    return RefusedError("internal_error", INTERNAL)


class Problem(BaseModel):
    """What went wrong, and what to do."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "code": "overloaded",
                    "message": "65536 pairs are already waiting; try again in 1.3 s",
                    "retry_after": 1.3,
                }
            ]
        }
    )

    code: str = Field(json_schema_extra={"enum": [*sorted(KINDS)]})
    message: str = Field(description="A sentence: what was expected, what came, what to do.")
    retry_after: float | None = Field(default=None, description="Seconds after which asking again makes sense.")


class TeiProblem(Problem):
    """What went wrong, also under the names that text-embeddings-inference uses."""

    error: str = Field(description="The message again.")
    error_type: str = Field(description="The kind of error as text-embeddings-inference names it.")


class DetailedProblem(Problem):
    """What went wrong, also under the name that Jina uses."""

    detail: str = Field(description="The message again.")


_TEI_PATHS: Final = frozenset({"/rerank", "/info"})
_JINA_PATHS: Final = frozenset({"/v1/rerank"})


def problem_of(refusal: RefusedError, path: str) -> Problem:
    """Give the body of the answer, as the clients of this endpoint expect it."""
    code, message, retry_after = refusal.code, refusal.sentence, refusal.retry_after
    if path in _TEI_PATHS:
        kind = KINDS[code].tei
        return TeiProblem(code=code, message=message, retry_after=retry_after, error=message, error_type=kind)
    if path in _JINA_PATHS:
        return DetailedProblem(code=code, message=message, retry_after=retry_after, detail=message)
    return Problem(code=code, message=message, retry_after=retry_after)


def response_of(refusal: RefusedError, path: str) -> JSONResponse:
    """Give the answer."""
    headers: dict[str, str] = {}
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(refusal.retry_after)))
    if refusal.code == "unauthorized":
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.closes:
        headers["Connection"] = "close"
    body = problem_of(refusal, path).model_dump(exclude_none=True)
    return JSONResponse(body, status_code=KINDS[refusal.code].status, headers=headers)


def responses(*codes: str, shape: type[Problem] = Problem) -> dict[int | str, dict[str, Any]]:
    """Give the OpenAPI description of the errors that an endpoint may answer with."""
    by_status: dict[int | str, list[str]] = {}
    for code in codes:
        by_status.setdefault(KINDS[code].status, []).append(code)
    return {status: {"model": shape, "description": _described(status, some)} for status, some in by_status.items()}


def _described(status: int | str, codes: Sequence[str]) -> str:
    return f"{HTTPStatus(int(status)).phrase}: {', '.join(codes)}"


SCORING_CODES: Final = tuple(code for code in KINDS if code not in ("not_found", "method_not_allowed", CLIENT_CLOSED))
"""What an endpoint that scores may answer with."""
