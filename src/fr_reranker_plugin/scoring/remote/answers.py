"""What a server said, apart from how it came: its JSON, its reason for a refusal, and when to come again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any, Final

from fr_reranker_plugin.errors import RemoteError

_SHOWN: Final = 300
_BUSY: Final = 429
_TOO_LARGE: Final = 413
"""text-embeddings-inference says that of too many texts, too; `fr-reranker serve` has a code of its own for them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer over HTTP.

    :param url: Where it came from.
    :param headers: By lower-case name.
    :param secret: What must not be shown, should the server repeat it.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes
    secret: str | None = None

    @property
    def is_success(self) -> bool:
        """Whether the server did what it was asked."""
        return 200 <= self.status < 300  # noqa: PLR2004 -- what HTTP calls successful

    @property
    def is_busy(self) -> bool:
        """Whether the server has more to do than it takes."""
        return self.status == _BUSY

    @property
    def is_too_large(self) -> bool:
        """Whether the server would take less at a time."""
        return self.status == _TOO_LARGE or self.problem().get("code") == "too_many_texts"

    def json(self) -> Any:  # noqa: ANN401 -- whatever came
        """Give the content of a successful answer.

        :raises RemoteError: If it is not JSON.
        """
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            kind = self.headers.get("content-type", "no content type")
            raise RemoteError(
                f"expected JSON from {self.url}, got {kind} that begins with {self._shown(self.content[:60])!r}; "
                "is this the address of a reranker?",
                status=self.status,
            ) from None

    def problem(self) -> Mapping[str, Any]:
        """Give the fields of an error that was sent as JSON; empty for any other."""
        try:
            fields = json.loads(self.content)
        except (ValueError, RecursionError):
            return {}
        return fields if isinstance(fields, dict) else {}

    def reason(self) -> str:
        """Give what the server said went wrong, in its words, shortened; under whichever name its dialect has."""
        fields = self.problem()
        said = [fields[name] for name in ("message", "error", "detail") if isinstance(fields.get(name), str)]
        return self._shown(said[0].encode() if said else self.content) or "no reason given"

    def retry_after(self) -> float | None:
        """Give the seconds after which the server wants to be asked again; `None` if it does not say.

        The body of our own server is more exact than the header, which has whole seconds.
        """
        exact = self.problem().get("retry_after")
        if isinstance(exact, (int, float)) and not isinstance(exact, bool) and isfinite(exact):
            return max(0.0, float(exact))
        return _seconds(self.headers.get("retry-after", ""))

    def refusal(self) -> RemoteError:
        """Give the error for an answer that asking again would not change, with what to do."""
        return RemoteError(
            f"{self.url} answered {self.status}: {self.reason()}{_advice(self.status)}", status=self.status
        )

    def _shown(self, content: bytes) -> str:
        text = " ".join(content.decode(errors="replace").split())
        if self.secret:
            text = text.replace(self.secret, "***")
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _advice(status: int) -> str:
    match status:
        case 401 | 403:
            return "; it wants a key that it knows: give remote_api_key"
        case 404 | 405:
            return "; is remote_url right, and does the server speak this remote_dialect and have this model?"
        case 413:
            return "; this one text is too long for the server: shorten it"
        case _ if 300 <= status < 400:  # noqa: PLR2004 -- what HTTP calls redirections
            return "; it points elsewhere, which is not followed: set remote_url to the final address"
    return ""


def _seconds(header: str) -> float | None:
    """Give the seconds that a `Retry-After` header stands for: a number, or a date (RFC 9110, section 10.2.3)."""
    if header.strip().isascii() and header.strip().isdecimal():
        return float(header)
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (date.astimezone(UTC) - datetime.now(UTC)).total_seconds())
