"""Who may ask: keys that clients send as `Authorization: Bearer KEY`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Final, Self

from fr_reranker_plugin.errors import SettingsError

KEYS_VARIABLE: Final = "FR_RERANKER_API_KEYS"
"""The environment variable with keys, separated by white space or commas."""

_SCHEME: Final = b"bearer "


class ApiKeys:
    """The keys that a server accepts: only their digests are held, and they are never shown.

    Every key is compared with what came, in a time that depends on neither.

    :param keys: The keys; none at all lets everyone in.
    :raises SettingsError: If a key is blank or has white space in it, or if they are one string.
    """

    __slots__ = ("_digests",)

    def __init__(self, keys: Iterable[str] = ()) -> None:
        if isinstance(keys, str):
            raise SettingsError("expected a list of API keys, got one string; write ApiKeys([key])")
        listed = list(keys)
        for place, key in enumerate(listed):
            if not key or any(character.isspace() for character in key):
                raise SettingsError(f"API key {place} is blank or has white space in it; put each key on its own line")
        self._digests: Final = tuple(sha256(key.encode()).digest() for key in listed)

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """Read one key from each line; blank lines and those that begin with `#` are left out.

        :raises SettingsError: If the file cannot be read or holds no key: an open server must be asked for by name.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
            raise SettingsError(f"the file of API keys {path} cannot be read: {reason}") from None
        keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not keys:
            raise SettingsError(f"the file {path} holds no API key; write one on a line, or leave the option out")
        return cls(keys)

    @classmethod
    def from_environment(cls) -> Self:
        """Read the keys from `FR_RERANKER_API_KEYS`; without the variable there are none.

        :raises SettingsError: If the variable is set and holds no key.
        """
        value = os.environ.get(KEYS_VARIABLE)
        if value is None:
            return cls()
        keys = value.replace(",", " ").split()
        if not keys:
            raise SettingsError(f"the environment variable {KEYS_VARIABLE} holds no API key; set one, or unset it")
        return cls(keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def accepts(self, authorization: bytes | None) -> bool:
        """Tell whether a client with this header may ask."""
        if not self._digests:
            return True
        header = authorization or b""
        given = sha256(header[len(_SCHEME) :].strip()).digest()
        matches = sum(compare_digest(given, known) for known in self._digests)
        return bool(matches) and header[: len(_SCHEME)].lower() == _SCHEME


NO_KEYS: Final = ApiKeys()
"""Everyone may ask."""
