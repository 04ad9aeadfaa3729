"""The changes of the vector store: texts are added, replaced and deleted, waiting or asynchronous."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

from fr_reranker_plugin.langchain.embeddings import identity_of
from fr_reranker_plugin.langchain.stored_documents import batches, to_stored
from fr_reranker_plugin.langchain.vector_search import VectorSearch, refuse_unknown
from fr_reranker_plugin.retrieval.dense_index import DenseIndex
from fr_reranker_plugin.retrieval.documents import StoredDocument
from fr_reranker_plugin.retrieval.faiss_loading import load_faiss
from fr_reranker_plugin.retrieval.index_settings import IndexKind, IndexSettings
from fr_reranker_plugin.retrieval.index_threads import in_change_thread, in_index_thread
from fr_reranker_plugin.retrieval.vectors import unit_vectors


class VectorChanges(VectorSearch):
    """Embeds texts and puts them into the index, which the first of them makes."""

    _kind: IndexKind
    _creating: threading.Lock

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        batch_size: int | None = None,
        **unknown: object,
    ) -> list[str]:
        """Add texts, or replace those whose id is known, and give their ids.

        :param metadatas: Of each text: JSON values under string keys.
        :param ids: Of each text; where one is `None`, it gets a new one. Of texts with one id the last is kept.
        :param batch_size: How many texts are embedded and added at once; `None`: all of them, or none if one fails.
        :raises SettingsError: If something cannot be stored, or the store only reads; nothing is embedded then. It is a
            `ValueError`.
        :raises IndexClosedError: If the store is closed; nothing is embedded then.
        :raises MissingDependencyError: If FAISS is not installed; nothing is embedded then.
        """
        refuse_unknown(unknown)
        documents = self._to_add(texts, metadatas, ids)
        for batch in batches(documents, batch_size):
            self._upsert(batch, self.embedding.embed_documents([document.text for document in batch]))
        return [document.id for document in documents]

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        batch_size: int | None = None,
        **unknown: object,
    ) -> list[str]:
        """Add texts, or replace them, without blocking the event loop; see `add_texts`."""
        refuse_unknown(unknown)
        documents = await in_index_thread(self._to_add, texts, metadatas, ids)
        for batch in batches(documents, batch_size):
            embeddings = await self.embedding.aembed_documents([document.text for document in batch])
            await in_change_thread(self._upsert, batch, embeddings)
        return [document.id for document in documents]

    def delete(self, ids: list[str] | None = None, **unknown: object) -> bool:
        """Delete the documents with these ids, or all for `None`; unknown ids are passed over. Gives `True`."""
        refuse_unknown(unknown)
        if self._index is not None:
            self._index.delete(self._index.ids() if ids is None else ids)
        return True

    async def adelete(self, ids: list[str] | None = None, **unknown: object) -> bool:
        """Delete documents without blocking the event loop; see `delete`."""
        return await in_change_thread(self.delete, ids, **unknown)

    def _to_add(
        self, texts: Iterable[str], metadatas: list[dict[str, Any]] | None, ids: list[str] | None
    ) -> list[StoredDocument]:
        """Give texts as the index keeps them, if it can take them."""
        if self._index is None:
            load_faiss()
        else:
            self._index.check_writable()
        return to_stored(texts, metadatas, ids)

    def _upsert(self, documents: Sequence[StoredDocument], embeddings: Sequence[Sequence[float]]) -> None:
        vectors = unit_vectors(embeddings, what="the embeddings")
        last = {document.id: place for place, document in enumerate(documents)}
        kept = list(last.values())
        self._index_of(vectors.shape[1]).upsert([documents[place] for place in kept], vectors[kept])

    def _index_of(self, dimension: int) -> DenseIndex:
        with self._creating:
            if self._index is None:
                settings = IndexSettings(dimension=dimension, kind=self._kind, encoder=identity_of(self.embedding))
                self._index = DenseIndex.create(settings=settings)
            return self._index
