"""The store's methods that wait for their result."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from haystack import Document
from haystack.document_stores.types import DuplicatePolicy

from fr_reranker_plugin.errors import DuplicateDocumentError
from fr_reranker_plugin.retrieval.documents import StoredDocument
from fr_reranker_plugin.scoring.settings import check_whole_number
from haystack_integrations.components.rankers.fr_reranker.checks import checked_documents
from haystack_integrations.document_stores.fr_reranker.conversion import (
    REST,
    haystack_errors,
    to_document,
    to_stored,
    to_vector,
)
from haystack_integrations.document_stores.fr_reranker.filters import not_empty, to_filter
from haystack_integrations.document_stores.fr_reranker.parameters import StoreParameters

_AT_ONCE: Final = 1000
_TYPE_NAMES: Final = {"integer": "int", "real": "float", "true": "boolean", "false": "boolean"}


class SynchronousStore(StoreParameters):
    """Writes, reads and searches documents. Safe from any number of threads; changes come one after another."""

    def count_documents(self) -> int:
        """Count the documents."""
        return self._index.count()

    def filter_documents(self, filters: dict[str, Any] | None = None) -> list[Document]:
        """Give the documents that match, in the order in which they were first written.

        :param filters: See Haystack's metadata filtering; `None` matches all.
        :raises haystack.errors.FilterError: If the filter is malformed, or compares what has no order.
        """
        with haystack_errors():
            return self._documents(
                list(self._index.documents(to_filter(filters))), with_embedding=self.return_embedding
            )

    def write_documents(self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """Write documents, and tell how many were written.

        A document without an embedding is found by filters and not by searches. An embedding counts by its direction.

        :param policy: What to do where an id is taken, or stands twice: `NONE` and `FAIL` raise and write nothing,
            `SKIP` keeps the first, `OVERWRITE` the last.
        :raises haystack.document_stores.errors.DuplicateDocumentError: If an id is taken and the policy is to fail.
        :raises SettingsError: If a document cannot be stored; nothing is written then. It is a `ValueError`.
        """
        given = checked_documents(documents)
        with self._one_change, haystack_errors():
            chosen = self._without_duplicates(given, policy)
            vectors = [self._vector_of(document) for document in chosen]
            stored = [to_stored(document) for document in chosen]
            if policy == DuplicatePolicy.OVERWRITE:
                self._index.upsert(stored, vectors)
            else:
                self._index.add(stored, vectors)
            self._save_if_wanted()
        return len(chosen)

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete the documents with these ids; unknown ids are passed over."""
        with self._one_change:
            self._index.delete(document_ids)
            self._save_if_wanted()

    def delete_all_documents(self) -> None:
        """Delete every document."""
        with self._one_change:
            self._index.delete(self._index.ids())
            self._save_if_wanted()

    def delete_by_filter(self, filters: dict[str, Any]) -> int:
        """Delete the documents that match, and tell how many there were.

        :raises haystack.errors.FilterError: As `filter_documents`, and for an empty filter.
        """
        with self._one_change, haystack_errors():
            deleted = self._index.delete(self._index.ids(to_filter(not_empty(filters))))
            self._save_if_wanted()
        return deleted

    def update_by_filter(self, filters: dict[str, Any], meta: dict[str, Any]) -> int:
        """Set metadata keys of the documents that match, and tell how many there were; their embeddings stay.

        :param meta: The keys to set, and their values; other keys stay as they are.
        :raises haystack.errors.FilterError: As `filter_documents`, and for an empty filter.
        """
        given = to_stored(Document(content="", meta=meta)).metadata
        with self._one_change, haystack_errors():
            updated = 0
            for ids in _chunks(self._index.ids(to_filter(not_empty(filters)))):
                known = self._index.get(ids)
                updated += self._index.update([d._replace(metadata={**d.metadata, **given}) for d in known])
            self._save_if_wanted()
        return updated

    def count_documents_by_filter(self, filters: dict[str, Any]) -> int:
        """Count the documents that match."""
        with haystack_errors():
            return self._index.count(to_filter(filters))

    def count_unique_metadata_by_filter(self, filters: dict[str, Any], metadata_fields: list[str]) -> dict[str, int]:
        """Count the different values of metadata fields among the documents that match.

        :param metadata_fields: With or without `meta.`, which the result leaves out.
        """
        with haystack_errors():
            wanted = to_filter(filters)
            return {
                field.removeprefix("meta."): len(self._index.metadata_values(field, wanted))
                for field in metadata_fields
            }

    def get_metadata_fields_info(self) -> dict[str, dict[str, str]]:
        """Give the type of each metadata field: `int`, `float`, `boolean`, or `keyword` for all else and mixtures."""
        types = self._index.metadata_types()
        return {key: {"type": _type_name(types[key])} for key in types if key != REST and types[key] != {"null"}}

    def get_metadata_field_min_max(self, metadata_field: str) -> dict[str, Any]:
        """Give the smallest and largest value of a field; `None` where there is none, or they have no order."""
        values = [v for v in self._index.metadata_values(metadata_field) if isinstance(v, (int, float, str))]
        try:
            return {"min": min(values, default=None), "max": max(values, default=None)}
        except TypeError:
            return {"min": None, "max": None}

    def get_metadata_field_unique_values(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: dict[str, Any] | None = None,
    ) -> tuple[list[Any], int]:
        """Give a page of the different values of a field, ordered as strings, and how many there are in all.

        :param search_term: Keep values that contain it, whatever the case.
        :param from_: How many values come before the page.
        :param size: How many values the page holds at most.
        """
        with haystack_errors():
            values = self._index.metadata_values(metadata_field, to_filter(filters))
        term = (search_term or "").casefold()
        kept = [value for value in values if term in str(value).casefold()]
        kept.sort(key=lambda value: (str(value), type(value).__name__))
        return kept[from_ : from_ + size], len(kept)

    def embedding_retrieval(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        return_embedding: bool | None = None,  # noqa: FBT001 -- as other stores have it
    ) -> list[Document]:
        """Find the documents whose embeddings are nearest to that of a query, best first.

        :param query_embedding: Its direction counts, not its length.
        :param filters: What may be found; as many as `top_k` are whenever so many match.
        :param top_k: Most documents to return, at least 1.
        :param return_embedding: Whether they carry their embeddings; `None`: as the store is set.
        :return: Documents with the cosine in -1..1 as their score, higher is better.
        :raises haystack.errors.FilterError: As `filter_documents`.
        :raises SettingsError: If the embedding has another dimension or no direction, or `top_k` is below 1.
        """
        check_whole_number("top_k", top_k)
        query = to_vector(query_embedding, self.embedding_dim, "query_embedding")
        wanted = self.return_embedding if return_embedding is None else return_embedding
        with haystack_errors():
            (hits,) = self._index.search(query[None], top_k, filters=to_filter(filters))
        return self._documents([hit.document for hit in hits], [hit.score for hit in hits], with_embedding=wanted)

    def save(self, folder: str | Path | None = None) -> None:
        """Put everything on disk, all or nothing.

        :param folder: Another folder, for a copy; `None`: the folder of the store.
        :raises SettingsError: If there is no folder, or the store is read-only.
        """
        self._index.save(folder)

    def reload(self) -> bool:
        """Follow the writer of the folder: if it has saved since, use what it saved; tell whether it had."""
        return self._index.reload()

    def _documents(
        self, stored: Sequence[StoredDocument], scores: Sequence[float] | None = None, *, with_embedding: bool
    ) -> list[Document]:
        nothing = [None] * len(stored)
        vectors = self._index.vectors([document.id for document in stored]) if with_embedding else nothing
        told = nothing if scores is None else scores
        return [
            to_document(document, score=score, vector=vector)
            for document, score, vector in zip(stored, told, vectors, strict=True)
        ]

    def _without_duplicates(self, documents: list[Document], policy: DuplicatePolicy) -> list[Document]:
        if policy == DuplicatePolicy.OVERWRITE:
            return list({document.id: document for document in documents}.values())
        first = {document.id: document for document in reversed(documents)}
        if policy == DuplicatePolicy.SKIP:
            taken = {known.id for known in self._index.get(list(first))}
            return [document for id_, document in reversed(first.items()) if id_ not in taken]
        if len(first) < len(documents):
            raise DuplicateDocumentError("an id stands twice among the documents; nothing was written")
        return documents

    def _vector_of(self, document: Document) -> Any:  # noqa: ANN401 -- a vector or None
        if document.embedding is None:
            return None
        return to_vector(document.embedding, self.embedding_dim, f"the embedding of document {document.id!r}")

    def _save_if_wanted(self) -> None:
        if self.save_on_write:
            self._index.save()


def _type_name(types: Iterable[str]) -> str:
    names = {_TYPE_NAMES.get(name, "keyword") for name in types if name != "null"}
    if names == {"int", "float"}:
        return "float"
    return names.pop() if len(names) == 1 else "keyword"


def _chunks(ids: list[str]) -> Iterable[list[str]]:
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))
