"""Where a remote scorer asks, and how: frozen, and checked when built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, get_args
from urllib.parse import SplitResult, urlsplit

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.settings import check_whole_number

RemoteDialect = Literal["auto", "native", "tei", "jina", "cohere"]
"""The shape of requests and answers; `"auto"` finds it, see `RemoteSettings.known_dialect`."""

PATHS: Final[dict[RemoteDialect, str]] = {
    "cohere": "/v2/rerank",
    "jina": "/v1/rerank",
    "tei": "/rerank",  # behind the two above, which end with it
    "native": "/score",
}
"""Where each dialect is spoken, below the address of the server."""

_HOSTS: Final[dict[str, RemoteDialect]] = {"cohere.com": "cohere", "cohere.ai": "cohere", "jina.ai": "jina"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSettings:
    """Which server scores, and how it is asked.

    :param url: Address of the server, such as `"http://localhost:8080"`. The path of one of its endpoints may follow,
        and names the dialect then.
    :param dialect: `"native"`: `fr-reranker serve`. `"tei"`: text-embeddings-inference. `"jina"`, `"cohere"`: those
        services, and servers with their `/v1/rerank` or `/v2/rerank`. `"auto"`: see `known_dialect`.
    :param api_key: Sent as `Authorization: Bearer KEY`. Takes no part in comparing settings and is never shown.
    :param model: What requests name in the dialects of Jina and Cohere. Elsewhere the server has one model, and it is
        logged if that has another name. `None`: nothing is named and nothing compared.
    :param max_retries: How often a request is sent again that found the server busy, not ready or not there.
    :raises SettingsError: If a value is not allowed.
    """

    url: str
    dialect: RemoteDialect = "auto"
    api_key: str | None = field(default=None, repr=False, compare=False)
    model: str | None = None
    max_retries: int = 5

    def __post_init__(self) -> None:
        _check_url(self.url)
        if self.dialect not in get_args(RemoteDialect):
            choices = ", ".join(map(repr, get_args(RemoteDialect)))
            raise SettingsError(f"remote_dialect must be one of {choices}, got {self.dialect!r}")
        if self.api_key is not None and (not isinstance(self.api_key, str) or not _fits_header(self.api_key)):
            raise SettingsError("remote_api_key must be text without white space or control characters; check its end")
        if self.model is not None and not isinstance(self.model, str):
            raise SettingsError(f"model must be a string or None, got {self.model!r}")
        check_whole_number("max_retries", self.max_retries, at_least=0)
        named = _dialect_of_path(self.url)
        if named is not None and self.dialect not in ("auto", named):
            raise SettingsError(
                f"remote_url ends with {PATHS[named]}, the path of {named!r}, and remote_dialect is {self.dialect!r}; "
                "leave out one of the two"
            )

    @property
    def base_url(self) -> str:
        """The address that the paths of the endpoints are put behind, without a slash at its end."""
        named = _dialect_of_path(self.url)
        address = self.url.rstrip("/")
        return (address if named is None else address.removesuffix(PATHS[named])).rstrip("/")

    def known_dialect(self) -> RemoteDialect:
        """Give the dialect as far as it is known without asking the server.

        It is what was asked for, else what the path of `url` says (`/score`, `/rerank`, `/v1/rerank`, `/v2/rerank`),
        else that of the service at `cohere.com` or `jina.ai`, else `"auto"`: the server has to be asked then.
        """
        named = _dialect_of_path(self.url)
        if self.dialect != "auto" or named is not None:
            return named or self.dialect
        host = urlsplit(self.url).hostname or ""
        of_host = [name for end, name in _HOSTS.items() if host == end or host.endswith(f".{end}")]
        return of_host[0] if of_host else "auto"


def _dialect_of_path(url: str) -> RemoteDialect | None:
    address = url.rstrip("/")
    return next((dialect for dialect, path in PATHS.items() if address.endswith(path)), None)


def _check_url(url: object) -> None:
    expected = "remote_url must be an address like 'http://localhost:8080'"
    if not isinstance(url, str):
        raise SettingsError(f"{expected}, got {type(url).__name__}")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise SettingsError(f"{expected}, got {url!r}: {error}") from None
    _check_parts(parts)
    if not usable or any(character.isspace() or not character.isprintable() for character in url):
        raise SettingsError(f"{expected}, got {url!r}")


def _check_parts(parts: SplitResult) -> None:
    """Refuse what would be a secret in a place that is shown, or would have no effect."""
    if "@" in parts.netloc:
        raise SettingsError("remote_url must hold no user or password, it is shown and saved; give remote_api_key")
    if parts.query or parts.fragment:
        raise SettingsError("remote_url must have nothing behind its path, no '?' and no '#'; a key is remote_api_key")


def _fits_header(text: str) -> bool:
    return bool(text) and text.isprintable() and not any(character.isspace() for character in text)
