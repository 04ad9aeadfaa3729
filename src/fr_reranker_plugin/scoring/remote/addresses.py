"""Where a server is asked and with which key, checked before anything is sent."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from fr_reranker_plugin.errors import SettingsError


def check_address(url: object, *, name: str, key_name: str) -> None:
    """Refuse what is no address of HTTP, or holds more than one.

    :param name: What errors call it.
    :param key_name: Where a key belongs instead.
    :raises SettingsError: Then.
    """
    expected = f"{name} must be an address like 'http://localhost:8080'"
    if not isinstance(url, str):
        raise SettingsError(f"{expected}, got {type(url).__name__}")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise SettingsError(f"{expected}, got {url!r}: {error}") from None
    _check_parts(parts, name, key_name)
    if not usable or any(character.isspace() or not character.isprintable() for character in url):
        raise SettingsError(f"{expected}, got {url!r}")


def check_key(key: object, *, name: str) -> None:
    """Refuse what no header can carry; the key itself is never shown.

    :raises SettingsError: Then.
    """
    if key is None:
        return
    if not isinstance(key, str) or not key.isprintable() or any(map(str.isspace, key)) or not key:
        raise SettingsError(f"{name} must be text without white space or control characters; check its end")


def _check_parts(parts: SplitResult, name: str, key_name: str) -> None:
    """Refuse what would be a secret in a place that is shown, or would have no effect."""
    if "@" in parts.netloc:
        raise SettingsError(f"{name} must hold no user or password, it is shown and saved; give {key_name}")
    if parts.query or parts.fragment:
        raise SettingsError(f"{name} must have nothing behind its path, no '?' and no '#'; a key is {key_name}")
