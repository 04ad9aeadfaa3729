"""LangChain's documents as the index keeps them, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import uuid4

from langchain_core.documents import Document

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.retrieval.documents import StoredDocument, check_documents
from fr_reranker_plugin.scoring.settings import check_whole_number


def to_document(stored: StoredDocument) -> Document:
    """Give a document as it was added, with its id."""
    return Document(id=stored.id, page_content=stored.text, metadata=dict(stored.metadata))


def to_stored(
    texts: Iterable[str], metadatas: Sequence[dict[str, Any]] | None, ids: Sequence[str | None] | None
) -> list[StoredDocument]:
    """Give texts as the index keeps them; where one has no id, it gets a new one.

    :raises SettingsError: If there are more or fewer metadata or ids than texts, or one of them cannot be stored.
    """
    for name, value in (("texts", texts), ("ids", ids)):
        if isinstance(value, str):
            raise SettingsError(f"{name} must be a list of strings, got one string; put it into a list")
    given = list(texts)
    for name, values in (("metadatas", metadatas), ("ids", ids)):
        if values is not None and len(values) != len(given):
            raise SettingsError(f"expected as many {name} as texts, {len(given)}, but got {len(values)}")
    chosen = [str(uuid4()) if id_ is None else id_ for id_ in ids or [None] * len(given)]
    described = [{}] * len(given) if metadatas is None else metadatas
    documents = [StoredDocument(*parts) for parts in zip(chosen, given, described, strict=True)]
    for document in documents:  # one by one: an id may stand twice, and its last text is kept
        check_documents([document])
    return documents


def batches(documents: Sequence[StoredDocument], batch_size: int | None) -> Iterator[Sequence[StoredDocument]]:
    """Yield documents in batches; in one where there is no size.

    :raises SettingsError: If the size is not a whole number of at least 1.
    """
    size = max(1, len(documents)) if batch_size is None else check_whole_number("batch_size", batch_size)
    return (documents[start : start + size] for start in range(0, len(documents), size))
