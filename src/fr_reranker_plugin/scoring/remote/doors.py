"""What the doors that take a `remote_url` have in common."""

from __future__ import annotations

from typing import Final

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.long_documents import LongDocuments
from fr_reranker_plugin.scoring.remote.settings import RemoteDialect, RemoteSettings

REMOTE_KEY_VARIABLE: Final = "FR_RERANKER_API_KEY"
"""The environment variable with the key that a client sends; servers read theirs from `FR_RERANKER_API_KEYS`."""


def remote_settings(
    url: str | None,
    *,
    dialect: RemoteDialect,
    model: str | None = None,
    max_length: int | None = None,
    long_documents: LongDocuments = "truncate",
) -> RemoteSettings | None:
    """Give the settings behind the parameters of a door, without the key; `None` if no server is named.

    :raises SettingsError: If a value is not allowed, or asks for something that only the server can decide.
    """
    if url is None:
        RemoteSettings(url="http://localhost", dialect=dialect)
        return None
    if max_length is not None:
        raise SettingsError(
            f"max_length={max_length} has no effect with remote_url: the server cuts texts; set it there "
            "(`fr-reranker serve --max-length`)"
        )
    if long_documents != "truncate":
        raise SettingsError(
            f"long_documents={long_documents!r} needs the tokenizer, which is on the server with remote_url; start it "
            f"with `fr-reranker serve --long-documents {long_documents}`, and leave this out"
        )
    return RemoteSettings(url=url, dialect=dialect, model=model)
