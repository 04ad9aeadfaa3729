"""A dense index: unit vectors in FAISS, documents in SQLite, together in one folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from fr_reranker_plugin.retrieval.documents import Hit, StoredDocument, check_documents, check_ids
from fr_reranker_plugin.retrieval.encoder_identity import EncoderIdentity
from fr_reranker_plugin.retrieval.filters import Filter
from fr_reranker_plugin.retrieval.generations import Reading
from fr_reranker_plugin.retrieval.index_manifest import Manifest
from fr_reranker_plugin.retrieval.index_settings import IndexSettings, SearchDevice
from fr_reranker_plugin.retrieval.index_store import IndexStore
from fr_reranker_plugin.retrieval.index_writing import write_documents
from fr_reranker_plugin.retrieval.vectors import OptionalVectors, Vectors, check_vectors
from fr_reranker_plugin.scoring.settings import check_whole_number

_PAGE: Final = 1000


class DenseIndex:
    """Unit vectors in FAISS and documents in SQLite, together in one folder.

    A score is the cosine of query and document, in [-1, 1], higher is better, whatever the kind of index. Filters are
    exact: what is found matches, and there are `k` results whenever `k` documents match. What is added can be found at
    once; it is on disk after `save`, which changes everything or nothing, even if the process is killed.

    Safe to use from any number of threads: searches run beside each other, changes one after another. One process
    writes to a folder; any number read it, and follow with `reload`.

    Make one with `create` or `open`, and use it in a `with` statement or `close` it.
    """

    def __init__(self, store: IndexStore) -> None:
        self._store = store

    @classmethod
    def create(
        cls, folder: Path | str | None = None, *, settings: IndexSettings, device: SearchDevice = "auto"
    ) -> Self:
        """Start an empty index.

        :param folder: Where `save` will put it; must not hold an index. `None`: in memory only.
        :param device: Where vectors are compared.
        :raises IndexFolderError: If the folder holds an index already.
        :raises IndexLockedError: If it is open for writing elsewhere.
        :raises MissingDependencyError: If FAISS is not installed.
        """
        return cls(IndexStore.create(folder, settings, device=device))

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        expected: EncoderIdentity | None = None,
        read_only: bool = False,
        memory_map: bool = False,
        verify: bool = True,
        device: SearchDevice = "auto",
    ) -> Self:
        """Open a saved index. Nothing in the folder changes before `save`.

        :param expected: The encoder that queries will be encoded with; it must be the one that made the vectors.
        :param read_only: Beside a writer and other readers; nothing can be added.
        :param memory_map: Leave the vectors on disk, and let the system load what is looked at; with `read_only` only.
        :param verify: Compare the checksums of all files; without it, their sizes only.
        :param device: Where vectors are compared.
        :raises IndexFolderError: If there is no index, it is damaged, of another encoder, or of a newer version.
        :raises IndexLockedError: If it is open for writing elsewhere, and `read_only` is false.
        """
        reading = Reading(memory_map=memory_map, verify=verify, device=device)
        store = IndexStore.open(folder, read_only=read_only, reading=reading)
        try:
            if expected is not None:
                store.settings.check_encoder(expected, store.place)
        except BaseException:
            store.close()
            raise
        return cls(store)

    def add(self, documents: Sequence[StoredDocument], vectors: OptionalVectors) -> None:
        """Add documents with their vectors.

        :param vectors: Shape (n, dimension), or a list with `None` for documents that filters find and searches do not.
        :raises DuplicateDocumentError: If an id is taken; nothing is added then.
        :raises SettingsError: If a document or a vector cannot be stored; nothing is added then.
        """
        write_documents(self._store, documents, vectors, replace=False)

    def upsert(self, documents: Sequence[StoredDocument], vectors: OptionalVectors) -> None:
        """Add documents, or replace those with the same id; see `add`."""
        write_documents(self._store, documents, vectors, replace=True)

    def update(self, documents: Sequence[StoredDocument]) -> int:
        """Replace text and metadata of documents whose id is known, and keep their vectors; tell how many there were.

        :raises SettingsError: If a document cannot be stored; nothing is replaced then.
        """
        rows = check_documents(documents)
        with self._store.changing() as contents, self._store.alone():
            return contents.replace(rows)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents, and tell how many there were; a string in place of a list of ids is refused."""
        ids = check_ids(ids)
        with self._store.changing() as contents, self._store.alone():
            return contents.delete(ids)

    def check_writable(self) -> None:
        """Refuse an index that takes no changes, before work is spent on what would be put into it.

        :raises SettingsError: If it was opened with `read_only`.
        :raises IndexClosedError: If it is closed.
        """
        self._store.check_writable()

    def get(self, ids: Sequence[str]) -> list[StoredDocument]:
        """Give the documents that exist, in the order of `ids`."""
        ids = check_ids(ids)
        with self._store.reading() as contents:
            known = contents.database.get(ids)
        return [known[id_] for id_ in ids if id_ in known]

    def documents(self, filters: Filter | None = None) -> Iterator[StoredDocument]:
        """Yield the documents that match, in the order in which they came, a page at a time.

        Changes that are made meanwhile show in the pages that are still to come.

        :raises FilterError: If the filter is malformed or compares what has no order.
        """
        last = -1
        while True:
            with self._store.reading() as contents:
                page = contents.database.page(filters, last, _PAGE)
            if not page:
                return
            last = page[-1][0]
            yield from (document for _, document in page)

    def ids(self, filters: Filter | None = None) -> list[str]:
        """Give the ids of the documents that match, in the order in which they came.

        :raises FilterError: As `documents`.
        """
        with self._store.reading() as contents:
            return contents.database.ids(filters)

    def count(self, filters: Filter | None = None) -> int:
        """Count the documents that match; see `documents`."""
        with self._store.reading() as contents:
            return contents.database.count(filters)

    def metadata_values(self, key: str, filters: Filter | None = None) -> list[Any]:
        """Give the distinct values of a metadata key, not null, among the documents that match; see `documents`."""
        with self._store.reading() as contents:
            return contents.database.metadata_values(key, filters)

    def metadata_types(self) -> dict[str, set[str]]:
        """Give the JSON types of the values under each metadata key, such as `"integer"` and `"text"`."""
        with self._store.reading() as contents:
            return contents.database.metadata_types()

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Give the vectors of documents in the order of `ids`, as they were added: shape (n, dimension).

        A row is not-a-number where there is no such document, or it has no vector.
        """
        with self._store.reading() as contents:
            return contents.vectors_of(check_ids(ids))

    def search(self, queries: Vectors, k: int, *, filters: Filter | None = None) -> list[list[Hit]]:
        """Find the `k` documents nearest to each query, best first; equal ones in the order in which they came.

        :param queries: Unit vectors, shape (q, dimension).
        :param k: How many per query; fewer if fewer match.
        :param filters: Which documents may be found; see `retrieval/filters.py`.
        :return: For each query its hits.
        :raises SettingsError: If `k` is below 1 or a query is not a unit vector.
        :raises FilterError: If the filter is malformed or compares what has no order.
        """
        check_whole_number("k", k)
        queries = check_vectors(queries, count=None, dimension=self.dimension, what="queries")
        with self._store.reading() as contents:
            return contents.search(queries, k, filters)

    def save(self, folder: Path | str | None = None) -> None:
        """Put everything on disk, all or nothing.

        :param folder: Another folder, for a copy: one without an index, or with the copy that this object saved last.
            `None`: the folder of the index.
        :raises SettingsError: If there is no folder, or the index is read-only and would be saved into its own.
        :raises IndexFolderError: If `folder` holds another index; nothing is changed then.
        """
        self._store.save(folder)

    def reload(self) -> bool:
        """Follow the writer: if it has saved since, use what it saved; tell whether it had.

        Searches that are under way end as they began. An index that is open for writing is always the newest.

        :raises IndexFolderError: If the folder cannot be read any more; what was open stays in use.
        """
        return self._store.reload()

    def close(self) -> None:
        """Give up files and the right to write; a warning tells of changes not saved. A second time does nothing."""
        self._store.close()

    @property
    def settings(self) -> IndexSettings:
        """How the index finds vectors."""
        return self._store.settings

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.settings.dimension

    @property
    def manifest(self) -> Manifest | None:
        """What was saved last; `None` if nothing was."""
        return None if self._store.saved is None else self._store.saved.manifest

    @property
    def revision(self) -> int:
        """Another number whenever documents change, by this object or by `reload`: while it stays, so do they."""
        return self._store.revision

    def manifest_of(self, revision: int) -> Manifest | None:
        """Give what was saved last, if the documents were those of `revision` then."""
        saved = self._store.saved
        return saved.manifest if saved is not None and saved.revision == revision else None

    def __len__(self) -> int:
        return self.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
