"""What an index holds and gives back: plain documents, with metadata that survives JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from fr_reranker_plugin.errors import SettingsError

_NO_METADATA: Final[Mapping[str, Any]] = MappingProxyType({})


class StoredDocument(NamedTuple):
    """A text with an id and metadata.

    `metadata` holds JSON values only: strings, whole numbers, finite floats, booleans, `None`, lists and dictionaries
    with string keys.
    """

    id: str
    text: str
    metadata: Mapping[str, Any] = _NO_METADATA


class Hit(NamedTuple):
    """A document that was found, and how near it is to the query: a cosine in [-1, 1], higher is better."""

    document: StoredDocument
    score: float


class Row(NamedTuple):
    """A document that may be stored, with its metadata as JSON."""

    id: str
    text: str
    metadata: str


def check_documents(documents: Sequence[StoredDocument]) -> list[Row]:
    """Give documents as they are stored; refuse what cannot be, before anything is.

    :raises SettingsError: If a document is none, its id or text is not a string (of whole characters), its metadata
        are not JSON values, or an id stands twice.
    """
    rows: dict[str, Row] = {}
    for place, document in enumerate(documents):
        check_document(place, document)
        check_text(f"the id of document {place}", document.id)
        check_text(f"the text of document {document.id!r}", document.text)
        if document.id in rows:
            raise SettingsError(f"the id {document.id!r} stands twice in one call; give each document once")
        rows[document.id] = Row(document.id, document.text, metadata_to_json(document))
    return list(rows.values())


def check_document(place: int, document: object) -> None:
    """Refuse what is not a document, such as a text alone or a document of a framework.

    :raises SettingsError: Then.
    """
    if not isinstance(document, StoredDocument):
        raise SettingsError(f"document {place} must be a StoredDocument, got {type(document).__name__}")


def check_ids(ids: Iterable[str]) -> list[str]:
    """Give ids as a list; a string alone is none, since each of its letters could be an id.

    :raises SettingsError: If it is a string, or something in it is not.
    """
    if isinstance(ids, str):
        raise SettingsError(f"expected a list of ids, got the string {ids!r:.80}; put it into a list")
    listed = list(ids)
    for place, id_ in enumerate(listed):
        if not isinstance(id_, str):
            raise SettingsError(f"id {place} must be a string, got {id_!r:.80}")
    return listed


def check_text(what: str, text: object) -> None:
    """Refuse a value that is not a string, or that cannot be written as UTF-8.

    :raises SettingsError: Then.
    """
    if not isinstance(text, str):
        raise SettingsError(f"{what} must be a string, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SettingsError(f"{what} has half a character at position {error.start}; replace it first") from None


def metadata_to_json(document: StoredDocument) -> str:
    """Write metadata as JSON in one canonical form: filters compare these very characters.

    :raises SettingsError: If a value would not come back equal; the message names the document and the key.
    """
    if not isinstance(document.metadata, Mapping):
        raise SettingsError(
            f"the metadata of document {document.id!r} must be a dictionary, got {type(document.metadata).__name__}"
        )
    metadata = dict(document.metadata)
    if (text := _exact_json(metadata)) is not None:
        return text
    wrong = next((key for key, value in metadata.items() if _exact_json({key: value}) is None), None)
    found = f"{wrong!r} is {metadata[wrong]!r}" if wrong is not None else f"found {metadata!r}"
    raise SettingsError(
        f"the metadata of document {document.id!r} must be JSON values under string keys (strings, whole numbers, "
        f"finite floats, booleans, None, lists, dictionaries), but {found:.200}"
    )


def canonical_json(value: object) -> str:
    """Give the one way in which a JSON value is written here."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _exact_json(metadata: dict[Any, Any]) -> str | None:
    """Give the canonical JSON if it reads back equal, else `None`."""
    try:
        text = canonical_json(metadata)
        text.encode()
        return text if json.loads(text) == metadata else None
    except (TypeError, ValueError, RecursionError):
        return None
