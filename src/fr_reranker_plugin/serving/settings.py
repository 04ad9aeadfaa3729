"""What a server allows, and how long it waits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.long_documents import LongDocuments, WindowSettings, window_settings
from fr_reranker_plugin.scoring.settings import check_whole_number
from fr_reranker_plugin.serving.keys import NO_KEYS, ApiKeys

_MEBIBYTE: Final = 1 << 20

MOST_TEXTS: Final = 10_000
"""What no server takes in one request: reading more would hold up everybody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Limits of one request, and what concerns all of them.

    A pair is cut at the model's length, so that a request costs at most `max_texts` times that many tokens, or
    `max_windows` times more where long documents are read in windows.

    :param max_body_bytes: Longest body of a request. It is read as JSON in one go, during which nothing else is
        answered: some 100 ms for the default, where it is filled with tiny values rather than texts.
        A longer body is refused; up to 16 times that is read first and thrown away, so that its sender sees why.
    :param max_texts: Most texts, or pairs, of one request; at most `MOST_TEXTS`.
    :param request_timeout: Most seconds from when a request is read until its answer is of no use; the header
        `X-Request-Timeout` may ask for less.
    :param body_timeout: Most seconds that a client may take to send a body.
    :param grace_period: Most seconds for the answers to what was accepted, when the server is told to stop.
    :param keys: Who may ask; without keys everyone may.
    :param long_documents: What becomes of texts that are longer than the model reads; see `LongDocuments`.
    :param window_overlap: Tokens that neighbouring windows share.
    :param max_windows: Most windows of one text.
    :raises SettingsError: If a value is not allowed.
    """

    max_body_bytes: int = 4 * _MEBIBYTE
    max_texts: int = 1000
    request_timeout: float = 300.0
    body_timeout: float = 30.0
    grace_period: float = 30.0
    keys: ApiKeys = field(default=NO_KEYS, repr=False)
    long_documents: LongDocuments = "truncate"
    window_overlap: int = 64
    max_windows: int = 32

    def __post_init__(self) -> None:
        check_whole_number("max_body_bytes", self.max_body_bytes)
        check_whole_number("max_texts", self.max_texts)
        if self.max_texts > MOST_TEXTS:
            raise SettingsError(f"max_texts must be at most {MOST_TEXTS}, got {self.max_texts}; send several requests")
        for name in ("request_timeout", "body_timeout", "grace_period"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise SettingsError(f"{name} must be a number of seconds above 0, got {value!r}")
        if not isinstance(self.keys, ApiKeys):
            raise SettingsError(f"keys must be ApiKeys, got {type(self.keys).__name__}; write ApiKeys([key])")
        self.windows()

    def windows(self) -> WindowSettings | None:
        """Give how long texts are cut into windows; `None` where their ends are not read."""
        return window_settings(self.long_documents, overlap=self.window_overlap, max_windows=self.max_windows)
