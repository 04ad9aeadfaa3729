"""A chat model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Final

from fr_reranker_plugin.errors import SettingsError, TrainingError
from fr_reranker_plugin.scoring.remote.addresses import check_address, check_key

_KEY: Final = "the key (OPENAI_API_KEY)"
_SHOWN: Final = 200
_PASSING: Final = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
"""What may be otherwise in a moment."""

_LONGEST_WAIT: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatEndpoint:
    """Where a chat model answers; safe to use from any number of threads.

    :param base_url: As OpenAI's clients take it, like `http://localhost:8000/v1`.
    :param model: The model's name there.
    :param key: Sent as a bearer token; `None` sends none. Never shown.
    :param temperature: How varied answers are; 0 is the least.
    :param seed: Sent along; endpoints that know it answer alike.
    :param timeout: Seconds for one answer.
    :param attempts: How often a question is sent while the endpoint is busy or cannot be reached.
    :raises SettingsError: If the address is not one of HTTP, or no header can carry the key.
    """

    base_url: str
    model: str
    key: str | None = field(default=None, repr=False)
    temperature: float = 0.7
    seed: int = 42
    timeout: float = 120.0
    attempts: int = 5

    def __post_init__(self) -> None:
        check_address(self.base_url, name="base_url", key_name=_KEY)
        if not self.base_url.isascii():
            raise SettingsError(f"base_url must be in ASCII, other letters as %XX or xn--, got {self.base_url!r}")
        check_key(self.key, name=_KEY)
        if self.key is not None and not self.key.isascii():
            raise SettingsError(f"{_KEY} must be in ASCII; look for typographic quotes or dashes in it")

    @property
    def identity(self) -> str:
        """A text that differs where other answers are to be expected."""
        return f"{self.model}, temperature {float(self.temperature)}, seed {self.seed}"

    def answer(self, prompt: str) -> str:
        """Send a prompt, and give the text of the answer.

        :raises TrainingError: If there is none, after several attempts where that may help.
        """
        for attempt in range(1, self.attempts + 1):
            try:
                return self._text_of(self._post(prompt))
            except urllib.error.HTTPError as error:
                with error:
                    reason = f"{error.code} {error.reason}: {error.read(_SHOWN).decode(errors='replace')}"
                wait = _wait(attempt, error.headers.get("Retry-After"))
                if error.code not in _PASSING:
                    break
            except (OSError, HTTPException) as error:  # no connection, none in time, or one that broke off
                reason, wait = str(error), _wait(attempt, None)
            if attempt < self.attempts:
                time.sleep(wait)
        raise TrainingError(
            f"the chat model {self.model!r} at {self.base_url} did not answer ({reason}); look at the address, the "
            "model's name and the key. What was answered so far is kept: the same command goes on"
        )

    def _post(self, prompt: str) -> bytes:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": self.temperature,
            "seed": self.seed,
        }
        headers = {"Content-Type": "application/json"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        url = f"{self.base_url.rstrip('/')}/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 -- the scheme is checked
        with urllib.request.urlopen(request, timeout=self.timeout) as response:  # noqa: S310
            content: bytes = response.read()
        return content

    def _text_of(self, content: bytes) -> str:
        try:
            found: Any = json.loads(content)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            found = None
        if not isinstance(found, str):
            raise TrainingError(
                f"{self.base_url} answered otherwise than OpenAI's chat completions do: "
                f"{content[:_SHOWN].decode(errors='replace')!r}"
            )
        return found.encode(errors="ignore").decode()  # half a character fits into no file


def _wait(attempt: int, asked: str | None) -> float:
    """Give the seconds until the next attempt: what the endpoint asks for, else twice as long each time."""
    if asked is not None and asked.strip().isdigit():
        return min(float(asked), _LONGEST_WAIT)
    return min(2.0 ** (attempt - 1), _LONGEST_WAIT)
