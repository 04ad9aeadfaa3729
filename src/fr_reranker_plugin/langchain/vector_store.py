"""A FAISS index with its documents in one folder, as a vector store of LangChain."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from langchain_core.embeddings import Embeddings

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.langchain.embeddings import identity_of
from fr_reranker_plugin.langchain.vector_changes import VectorChanges
from fr_reranker_plugin.retrieval.dense_index import DenseIndex
from fr_reranker_plugin.retrieval.index_settings import IndexKind, IndexSettings
from fr_reranker_plugin.retrieval.index_threads import in_change_thread, in_index_thread

logger = logging.getLogger(__name__)


class FaissVectorStore(VectorChanges):
    """Unit vectors in FAISS and documents in SQLite, in memory until `save_local` puts them into one folder.

    Scores are cosines in -1..1, higher is better, whatever the kind of index; relevance scores are `(1 + cosine) / 2`.
    Filters are exact. What is added can be found at once; it is on disk after `save_local`, which changes everything or
    nothing. Nothing is pickled. Safe to use from any number of threads. A store that was loaded holds its folder: use
    it in a `with` statement, or in `async with`, or `close` it.

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
        expected = identity_of(embeddings)
        index = DenseIndex.open(
            folder_path, expected=expected, read_only=read_only, memory_map=memory_map, verify=verify
        )
        return cls(embeddings, index=index)

    @classmethod
    async def aload_local(
        cls,
        folder_path: str | Path,
        embeddings: Embeddings,
        *,
        read_only: bool = False,
        memory_map: bool = False,
        verify: bool = True,
    ) -> Self:
        """Open what `save_local` saved without blocking the event loop; see `load_local`."""
        return await in_index_thread(
            cls.load_local, folder_path, embeddings, read_only=read_only, memory_map=memory_map, verify=verify
        )

    @property
    def embeddings(self) -> Embeddings:
        """What turns texts into vectors."""
        return self.embedding

    @property
    def index(self) -> DenseIndex | None:
        """The index, for what LangChain has no word for, such as counting; `None` before the first document."""
        return self._index

    def save_local(self, folder_path: str | Path | None = None) -> None:
        """Put everything into a folder, all or nothing.

        :param folder_path: One without an index, or the one loaded or saved last. `None`: the one that was loaded.
        :raises SettingsError: If there is nothing to save, no folder, or the store only reads.
        :raises IndexFolderError: If the folder holds another index; nothing is changed then.
        """
        if self._index is None:
            raise SettingsError("there is nothing to save: add a document first, which tells the vectors' dimension")
        self._index.save(folder_path)

    async def asave_local(self, folder_path: str | Path | None = None) -> None:
        """Put everything into a folder without blocking the event loop; see `save_local`."""
        await in_change_thread(self.save_local, folder_path)

    def close(self) -> None:
        """Give up files, memory and the right to write; what was not saved is lost. A second time does nothing."""
        if self._index is not None:
            self._index.close()

    async def aclose(self) -> None:
        """Close the store without blocking the event loop; see `close`."""
        await in_change_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def _check_encoder(index: DenseIndex, embedding: Embeddings) -> None:
    identity, made_by = identity_of(embedding), index.settings.encoder
    if identity is not None:
        index.settings.check_encoder(identity, "the index")
    elif made_by is not None:
        logger.warning("the vectors were made with %r; %s cannot be checked", made_by.model, type(embedding).__name__)
