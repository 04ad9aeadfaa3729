"""A FAISS index with its documents in one folder, as a vector store of LangChain."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.langchain.embeddings import FrenchEmbeddings
from fr_reranker_plugin.langchain.stored_documents import batches, to_document, to_stored
from fr_reranker_plugin.langchain.vector_search import VectorSearch, refuse_unknown
from fr_reranker_plugin.retrieval.dense_index import DenseIndex
from fr_reranker_plugin.retrieval.documents import StoredDocument
from fr_reranker_plugin.retrieval.encoder_identity import EncoderIdentity
from fr_reranker_plugin.retrieval.faiss_loading import load_faiss
from fr_reranker_plugin.retrieval.index_settings import IndexKind, IndexSettings
from fr_reranker_plugin.retrieval.index_threads import in_change_thread, in_index_thread
from fr_reranker_plugin.retrieval.vectors import unit_vectors

logger = logging.getLogger(__name__)


class FaissVectorStore(VectorSearch):
    """Unit vectors in FAISS and documents in SQLite, in memory until `save_local` puts them into one folder.

    Scores are cosines in -1..1, higher is better, whatever the kind of index; relevance scores are `(1 + cosine) / 2`.
    Filters are exact. What is added can be found at once; it is on disk after `save_local`, which changes everything or
    nothing. Nothing is pickled. Safe to use from any number of threads.

    ```python
    from fr_reranker_plugin.langchain import FaissVectorStore, FrenchEmbeddings

    store = FaissVectorStore.from_texts(["La mairie ouvre à 9 h."], FrenchEmbeddings(), [{"year": 2024}])
    best = store.similarity_search("Quand ouvre la mairie ?", k=1, filter={"year": {"$gte": 2020}})[0]
    ```

    :param embedding: What turns texts into vectors. Those of `FrenchEmbeddings` are checked: an index that another
        encoder made is refused.
    :param kind: How vectors are found: `"flat"` compares all, `"hnsw"`, `"ivf"` and `"ivfpq"` are for millions.
    :param index: An index to use instead of a new one, with settings of its own; `kind` has no effect then.
    :raises IndexFolderError: If the index was made by another encoder.
    """

    def __init__(self, embedding: Embeddings, *, kind: IndexKind = "flat", index: DenseIndex | None = None) -> None:
        self.embedding = embedding
        self._kind = IndexSettings(dimension=1, kind=kind).kind  # one that does not exist is refused here
        self._index = index
        self._creating = threading.Lock()
        if index is not None:
            _check_encoder(index, embedding)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        kind: IndexKind = "flat",
        batch_size: int | None = None,
        **unknown: object,
    ) -> Self:
        """Make a store of texts; see `FaissVectorStore` and `add_texts`."""
        store = cls(embedding, kind=kind)
        store.add_texts(texts, metadatas, ids=ids, batch_size=batch_size, **unknown)
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        kind: IndexKind = "flat",
        batch_size: int | None = None,
        **unknown: object,
    ) -> Self:
        """Make a store of texts without blocking the event loop."""
        store = cls(embedding, kind=kind)
        await store.aadd_texts(texts, metadatas, ids=ids, batch_size=batch_size, **unknown)
        return store

    @classmethod
    def load_local(
        cls,
        folder_path: str | Path,
        embeddings: Embeddings,
        *,
        read_only: bool = False,
        memory_map: bool = False,
        verify: bool = True,
    ) -> Self:
        """Open what `save_local` saved; nothing is unpickled.

        :param embeddings: What made the vectors. `FrenchEmbeddings` load their model here, and are checked.
        :param read_only: Only read the folder, beside its writer and any number of readers.
        :param memory_map: Leave the vectors on disk; with `read_only` only.
        :param verify: Compare the checksums of all files; without it, their sizes only.
        :raises IndexFolderError: If there is no index, it is damaged, or it was made by another encoder.
        :raises IndexLockedError: If it is open for writing elsewhere, and `read_only` is false.
        """
        expected = _identity(embeddings)
        index = DenseIndex.open(
            folder_path, expected=expected, read_only=read_only, memory_map=memory_map, verify=verify
        )
        return cls(embeddings, index=index)

    @property
    def embeddings(self) -> Embeddings:
        """What turns texts into vectors."""
        return self.embedding

    @property
    def index(self) -> DenseIndex | None:
        """The index, for what LangChain has no word for, such as counting; `None` before the first document."""
        return self._index

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

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Give the documents that exist, in the order of `ids`."""
        return [] if self._index is None else [to_document(stored) for stored in self._index.get(ids)]

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Give the documents that exist without blocking the event loop."""
        return await in_index_thread(self.get_by_ids, ids)

    def save_local(self, folder_path: str | Path | None = None) -> None:
        """Put everything into a folder, all or nothing.

        :param folder_path: One without an index, or the one loaded or saved last. `None`: the one that was loaded.
        :raises SettingsError: If there is nothing to save, no folder, or the store only reads.
        :raises IndexFolderError: If the folder holds another index; nothing is changed then.
        """
        if self._index is None:
            raise SettingsError("there is nothing to save: add a document first, which tells the vectors' dimension")
        self._index.save(folder_path)

    def close(self) -> None:
        """Give up files, memory and the right to write; what was not saved is lost. A second time does nothing."""
        if self._index is not None:
            self._index.close()

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
                settings = IndexSettings(dimension=dimension, kind=self._kind, encoder=_identity(self.embedding))
                self._index = DenseIndex.create(settings=settings)
            return self._index


def _identity(embedding: Embeddings) -> EncoderIdentity | None:
    return embedding.identity if isinstance(embedding, FrenchEmbeddings) else None


def _check_encoder(index: DenseIndex, embedding: Embeddings) -> None:
    identity, made_by = _identity(embedding), index.settings.encoder
    if identity is not None:
        index.settings.check_encoder(identity, "the index")
    elif made_by is not None:
        logger.warning("the vectors were made with %r; %s cannot be checked", made_by.model, type(embedding).__name__)
