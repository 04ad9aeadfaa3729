"""Vectors in FAISS, by position."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from fr_reranker_plugin.errors import IndexFolderError, SettingsError
from fr_reranker_plugin.retrieval.faiss_loading import load_faiss
from fr_reranker_plugin.retrieval.index_settings import IndexSettings, SearchDevice
from fr_reranker_plugin.retrieval.selection import Positions, Selection
from fr_reranker_plugin.retrieval.vectors import Vectors

_SPARE: Final = 8


class VectorIndex:
    """A FAISS index by inner product. A position is the number of vectors that came before.

    :param settings: How vectors are found.
    :param index: The FAISS index.
    """

    def __init__(self, settings: IndexSettings, index: Any) -> None:  # noqa: ANN401 -- older FAISS has no types
        self._settings = settings
        self._index = index

    @classmethod
    def empty(cls, settings: IndexSettings, *, device: SearchDevice) -> Self:
        """Start without vectors."""
        if settings.kind != "flat" or device == "cuda":
            raise SettingsError("only flat indexes on the CPU are there yet")
        return cls(settings, load_faiss().IndexFlatIP(settings.dimension))

    @classmethod
    def read(cls, path: Path, settings: IndexSettings, *, memory_map: bool, device: SearchDevice) -> Self:  # noqa: ARG003 -- a GPU follows
        """Read what `write` wrote.

        :param memory_map: Leave the vectors on disk and let the system load what is looked at.
        :raises IndexFolderError: If FAISS cannot read it, or it is of another kind than `settings` say.
        """
        faiss = load_faiss()
        flags = faiss.IO_FLAG_MMAP_IFC if memory_map else 0
        try:
            index = faiss.read_index(str(path), flags)
        except RuntimeError as error:
            raise IndexFolderError(f"{path} is damaged: FAISS cannot read it ({error})") from error
        if index.d != settings.dimension or index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise IndexFolderError(
                f"{path}: expected vectors of dimension {settings.dimension}, compared by inner product; "
                f"found dimension {index.d} and metric {index.metric_type}"
            )
        return cls(settings, index)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._settings.dimension

    @property
    def total(self) -> int:
        """How many vectors there are."""
        return int(self._index.ntotal)

    def add(self, vectors: Vectors) -> None:
        """Append vectors; nothing may be searching."""
        if len(vectors):
            self._index.add(vectors)

    def at(self, positions: Positions) -> Vectors:
        """Give the vectors at these positions."""
        if not len(positions):
            return np.empty((0, self._settings.dimension), dtype=np.float32)
        vectors: Vectors = self._index.reconstruct_batch(np.ascontiguousarray(positions, dtype=np.int64))
        return vectors

    @property
    def is_exact(self) -> bool:
        """Whether a thorough search finds the nearest vectors themselves, rather than those whose compression is."""
        return True

    def should_be_thorough(self, selection: Selection | None) -> bool:  # noqa: ARG002 -- other kinds follow
        """Tell whether every selected vector should be compared, because the kind does so anyway or they are few."""
        return True

    def candidates_for(self, k: int) -> int:
        """Tell how many candidates to look at for `k` neighbours."""
        return k + _SPARE

    def propose(self, queries: Vectors, count: int, selection: Selection | None, *, thorough: bool) -> Positions:  # noqa: ARG002 -- as above
        """Give the positions of `count` near vectors for each query, -1 where there are fewer: shape (q, count).

        :param thorough: Compare every selected vector.
        """
        faiss = load_faiss()
        params = None if selection is None else faiss.SearchParameters(sel=selection.for_faiss())
        positions: Positions = self._index.search(queries, count, params=params)[1]
        return positions

    def write(self, path: Path) -> None:
        """Write everything into a file."""
        load_faiss().write_index(self._index, str(path))
