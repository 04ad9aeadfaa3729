"""What is noted about a request for the log and the metrics: numbers and names, never a text or a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.types import Scope

_PLACE: Final = "fr_reranker.notes"


@dataclass(slots=True)
class RequestNotes:
    """What was found out about a request.

    :param path: Where it goes, without the prefix under which the application may be mounted.
    :param code: The code of the error that it was answered with, or `ok`.
    """

    path: str
    code: str = "ok"
    priority: str | None = None
    texts: int | None = None
    truncated: int | None = None
    tokens: int | None = None


def notes_of(scope: Scope) -> RequestNotes:
    """Give the notes of a request; they begin with its path."""
    notes: RequestNotes = scope.setdefault(_PLACE, RequestNotes(_path_of(scope)))
    return notes


def _path_of(scope: Scope) -> str:
    """Give the path that the router looks for."""
    path: str = scope["path"]
    below = path.removeprefix(scope.get("root_path", ""))
    return below if not below or below.startswith("/") else path
