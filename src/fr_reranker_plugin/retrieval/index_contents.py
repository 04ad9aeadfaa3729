"""Vectors and documents that belong together, and what is left of them after deletions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Final

import numpy as np

from fr_reranker_plugin.errors import IndexFolderError
from fr_reranker_plugin.retrieval.document_database import DocumentDatabase
from fr_reranker_plugin.retrieval.documents import Hit, Row
from fr_reranker_plugin.retrieval.filter_memory import FilterMemory
from fr_reranker_plugin.retrieval.filters import Filter
from fr_reranker_plugin.retrieval.nearest import Nearest
from fr_reranker_plugin.retrieval.selection import Positions, Selection
from fr_reranker_plugin.retrieval.vector_index import VectorIndex
from fr_reranker_plugin.retrieval.vectors import Vectors

_REVISIONS: Final = count()
_NONE: Final = np.empty(0, dtype=np.int64)


class IndexContents:
    """The vectors of an index, its documents, and which vectors have a document.

    A vector whose document was deleted or replaced stays in FAISS until `adopt`, and is never found.

    :param vectors: By position.
    :param database: Documents that name the positions of their vectors.
    :raises IndexFolderError: If the two do not belong together.
    """

    def __init__(self, vectors: VectorIndex, database: DocumentDatabase) -> None:
        self.vectors = vectors
        self.database = database
        self.revision = next(_REVISIONS)
        """Another number whenever documents differ, here or in other contents: while it stays, so do they."""
        self._keeps_exact_vectors = vectors.compresses
        positions = database.positions()
        if len(positions) and positions[-1] >= vectors.total:
            raise IndexFolderError(
                f"a document names the vector {positions[-1]}, and there are {vectors.total}; index the documents again"
            )
        self._alive = Selection.of(positions, vectors.total)
        self._selections = FilterMemory[Selection]()

    @property
    def dead(self) -> int:
        """How many vectors have no document any more."""
        return self.vectors.total - self._alive.count

    def search(self, queries: Vectors, k: int, filters: Filter | None) -> list[list[Hit]]:
        """Give the best matches of each query; see `DenseIndex.search`."""
        found = Nearest(self.vectors, self.exact_vectors).search(queries, k, self._selection(filters))
        documents = self.database.at({position for row in found for position, _ in row})
        return [[Hit(documents[position], score) for position, score in row] for row in found]

    def exact_vectors(self, positions: Positions) -> Vectors:
        """Give vectors as they were added."""
        if self._keeps_exact_vectors:
            return self.database.kept_vectors(positions, self.vectors.dimension)
        return self.vectors.at(positions)

    def vectors_of(self, ids: Sequence[str]) -> Vectors:
        """Give the vectors of documents, and not-a-number where there is none."""
        places = self.database.places(ids)
        vectors = np.full((len(ids), self.vectors.dimension), np.nan, dtype=np.float32)
        rows = [row for row, id_ in enumerate(ids) if places.get(id_) is not None]
        positions = np.asarray([places[ids[row]] for row in rows], dtype=np.int64)
        vectors[rows] = self.exact_vectors(positions)
        return vectors

    def append(self, vectors: Vectors) -> None:
        """Add vectors that have no document yet, and so are not found."""
        if self._keeps_exact_vectors:
            self.database.keep_vectors(self.vectors.total, vectors)
        self.vectors.add(vectors)

    def write(self, rows: Sequence[Row], has_vector: Sequence[bool]) -> None:
        """Give documents to the vectors that were appended last; those with a known id are replaced."""
        replaced = self.database.places([row.id for row in rows])
        if rows:
            self.revision = next(_REVISIONS)
        born = np.arange(self.vectors.total - sum(has_vector), self.vectors.total)
        positions = iter(born.tolist())
        self.database.write(rows, [next(positions) if has else None for has in has_vector])
        self._count_again(born=born, died=replaced.values())

    def replace(self, rows: Sequence[Row]) -> int:
        """Replace text and metadata of documents whose id is known, and tell how many there were."""
        self._selections = FilterMemory()
        replaced = self.database.replace(rows)
        if replaced:
            self.revision = next(_REVISIONS)
        return replaced

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents, and tell how many there were."""
        places = self.database.places(ids)
        if places:
            self.revision = next(_REVISIONS)
        self.database.delete(list(places))
        self._count_again(died=places.values())
        return len(places)

    def compacted(self) -> tuple[VectorIndex, Positions]:
        """Give an index of the vectors that have a document, and their positions here; changes nothing."""
        return self.vectors.compacted(self.exact_vectors, self._alive.positions), self._alive.positions

    def adopt(self, vectors: VectorIndex, positions: Positions) -> None:
        """Use what `compacted` gave."""
        self.database.renumber(positions)
        self.vectors = vectors
        self._alive = Selection(np.ones(len(positions), dtype=np.bool_))
        self._selections = FilterMemory()

    def close(self) -> None:
        """Close the database; nothing may be searching."""
        self.database.close()

    def _selection(self, filters: Filter | None) -> Selection | None:
        """Give what a search may find, or `None` if that is everything."""
        if not filters:
            return self._alive if self.dead else None
        return self._selections.recall(
            filters, lambda asked: Selection.of(self.database.positions(asked), self.vectors.total)
        )

    def _count_again(self, *, died: Iterable[int | None], born: Positions = _NONE) -> None:
        mask = np.zeros(self.vectors.total, dtype=np.bool_)
        mask[: len(self._alive.mask)] = self._alive.mask
        mask[born] = True
        mask[[position for position in died if position is not None]] = False
        self._alive = Selection(mask)
        self._selections = FilterMemory()
