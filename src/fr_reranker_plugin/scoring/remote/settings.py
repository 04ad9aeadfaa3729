"""Where a remote scorer asks, and how: frozen, and checked when built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.remote.addresses import check_address, check_key
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
        check_address(self.url, name="remote_url", key_name="remote_api_key")
        if self.dialect not in get_args(RemoteDialect):
            choices = ", ".join(map(repr, get_args(RemoteDialect)))
            raise SettingsError(f"remote_dialect must be one of {choices}, got {self.dialect!r}")
        check_key(self.api_key, name="remote_api_key")
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
