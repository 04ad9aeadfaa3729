"""What is noted about a request for the log and the metrics: numbers and names, never a text or a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.types import Scope

_PLACE: Final = "fr_reranker.notes"


@dataclass(slots=True)
class RequestNotes:
    """What an endpoint found out about its request.

    :param code: The code of the error that it was answered with, or `ok`.
    """

    code: str = "ok"
    priority: str | None = None
    texts: int | None = None
    truncated: int | None = None
    tokens: int | None = None


def notes_of(scope: Scope) -> RequestNotes:
    """Give the notes of a request; they begin empty."""
    notes: RequestNotes = scope.setdefault(_PLACE, RequestNotes())
    return notes
