"""What can be reranked, and the text, metadata and identity of each."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document

from fr_reranker_plugin.errors import SettingsError

Rerankable = str | Document | Mapping[str, Any]
"""A text, a document, or a dictionary with its text under `text` or `page_content`.

The metadata of a dictionary stands under `metadata`; where it has no such key, its own keys are the metadata.
"""


def check_documents(documents: object) -> None:
    """Refuse anything but a sequence of LangChain documents.

    :raises SettingsError: With the position and type of the first other thing.
    """
    for position, document in enumerate(_sequence(documents)):
        if not isinstance(document, Document):
            raise SettingsError(
                f"document {position} must be a langchain_core Document, got {type(document).__name__}; "
                "rerank() takes strings and dictionaries too"
            )
        content_of(document, position)


def check_rerankables(documents: object) -> None:
    """Refuse anything but a sequence of texts, documents and dictionaries with a text.

    :raises SettingsError: With the position of the first other thing, and what it is.
    """
    for position, document in enumerate(_sequence(documents)):
        content_of(document, position)


def check_query(query: object) -> None:
    """Refuse a query that is not a string.

    :raises SettingsError: With the type that came.
    """
    if not isinstance(query, str):
        raise SettingsError(f"query must be a string, got {type(query).__name__}")


def content_of(document: object, position: int) -> str | None:
    """Give the text of a document; `None` where it has none.

    :param position: Where it stands in the list, for the error message.
    :raises SettingsError: If it is not a `Rerankable`, or its text is not a string.
    """
    match document:
        case str() as content:
            return content
        case Document(page_content=content) | {"text": content} | {"page_content": content}:
            if content is None or isinstance(content, str):
                return content
            raise SettingsError(f"the text of document {position} must be a string, got {type(content).__name__}")
        case Mapping():
            keys = ", ".join(map(repr, document)) or "no keys"
            raise SettingsError(f"document {position} must have its text under 'text' or 'page_content', got {keys}")
    raise SettingsError(
        f"document {position} must be a string, a Document or a dictionary, got {type(document).__name__}"
    )


def metadata_of(document: Rerankable) -> Mapping[Any, Any]:
    """Give the metadata of a document; a plain text has none."""
    match document:
        case Document(metadata=metadata) | {"metadata": Mapping() as metadata}:
            return metadata
        case Mapping():
            return document
    return {}


def first_positions(documents: Sequence[Rerankable]) -> list[int]:
    """Give the positions of the documents that repeat no earlier one: by id, or by text where they have none."""
    first: dict[Hashable, int] = {}
    for position, document in enumerate(documents):
        first.setdefault(_identity(document, position), position)
    return list(first.values())


def _identity(document: Rerankable, position: int) -> Hashable:
    match document:
        case Document(id=str() as identifier) | {"id": str() | int() as identifier}:
            return "id", identifier
    return "text", content_of(document, position)


def _sequence(documents: object) -> Sequence[object]:
    if isinstance(documents, str | bytes) or not isinstance(documents, Sequence):
        raise SettingsError(f"documents must be a list, got {type(documents).__name__}")
    return documents
