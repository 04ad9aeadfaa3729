"""Vectors in FAISS, by position."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from fr_reranker_plugin.errors import IndexFolderError
from fr_reranker_plugin.retrieval.faiss_kinds import (
    TRAINED_WITH_AT_LEAST,
    TRAINED_WITH_PER_LIST,
    lists_due,
    start,
    steps_for,
    train,
)
from fr_reranker_plugin.retrieval.faiss_loading import load_faiss
from fr_reranker_plugin.retrieval.gpu_copy import GpuCopy, room_for_copy, use_gpu
from fr_reranker_plugin.retrieval.index_settings import IndexSettings, SearchDevice
from fr_reranker_plugin.retrieval.selection import Positions, Selection
from fr_reranker_plugin.retrieval.vectors import Vectors

_SPARE: Final = 8
_SCARCE: Final = 10
"""Where fewer than one in so many are selected, comparing each costs less than searching for them."""

_MOVED_AT_ONCE: Final = 16_384
_WRITTEN_AT_ONCE: Final = 1 << 20


class VectorIndex:
    """A FAISS index by inner product. A position is the number of vectors that came before.

    :param settings: How vectors are found.
    :param index: The FAISS index.
    :param device: Where vectors are compared.
    """

    def __init__(self, settings: IndexSettings, index: Any, *, device: SearchDevice) -> None:  # noqa: ANN401 -- older FAISS has no types
        self._settings = settings
        self._index = index
        self._device = device
        self._steps = steps_for(index, settings)
        self._gpu: GpuCopy | None = None
        if use_gpu(device, settings.kind):
            with room_for_copy(device):
                self._gpu = GpuCopy(index)

    @classmethod
    def empty(cls, settings: IndexSettings, *, device: SearchDevice) -> Self:
        """Start without vectors.

        :raises SettingsError: If `device` asks for a GPU and there is none that FAISS can use for this kind.
        :raises GpuMemoryError: If `device` asks for a GPU that has no room.
        """
        return cls(settings, start(settings), device=device)

    @classmethod
    def read(cls, path: Path, settings: IndexSettings, *, memory_map: bool, device: SearchDevice) -> Self:
        """Read what `write` wrote.

        :param memory_map: Leave the vectors on disk and let the system load what is looked at.
        :raises IndexFolderError: If FAISS cannot read it, or it is of another kind than `settings` say.
        :raises SettingsError: As `empty`, which raises `GpuMemoryError` too.
        """
        faiss = load_faiss()
        try:
            index = faiss.read_index(str(path), _memory_map_flags(settings) if memory_map else 0)
        except RuntimeError as error:
            raise IndexFolderError(f"{path} is damaged: FAISS cannot read it ({error})") from error
        found = type(index).__name__, index.d, index.metric_type
        if found not in [(kind, settings.dimension, faiss.METRIC_INNER_PRODUCT) for kind in _classes_of(settings)]:
            raise IndexFolderError(
                f"{path}: expected vectors of dimension {settings.dimension} in an index of the kind "
                f"{settings.kind!r}, compared by inner product; found {found[0]} of dimension {found[1]}"
            )
        return cls(settings, index, device=device)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._settings.dimension

    @property
    def total(self) -> int:
        """How many vectors there are."""
        return int(self._index.ntotal)

    @property
    def is_exact(self) -> bool:
        """Whether a thorough search finds the nearest vectors themselves, rather than those that compress alike."""
        return self._steps.is_exact

    @property
    def compresses(self) -> bool:
        """Whether vectors are kept compressed, now or later, so that exact ones must be kept elsewhere."""
        return self._settings.kind == "ivfpq"

    def add(self, vectors: Vectors) -> None:
        """Append vectors; nothing may be searching.

        :raises GpuMemoryError: If a GPU was asked for and has no room for them. The CPU searches from then on.
        """
        if len(vectors):
            self._index.add(vectors)
            gpu, self._gpu = self._gpu, None  # a copy that lacks vectors is not searched
            if gpu is not None:
                with room_for_copy(self._device):
                    gpu.add(vectors)
                    self._gpu = gpu

    def at(self, positions: Positions) -> Vectors:
        """Give the vectors at these positions as they are kept."""
        if not len(positions):
            return np.empty((0, self.dimension), dtype=np.float32)
        vectors: Vectors = self._index.reconstruct_batch(np.ascontiguousarray(positions, dtype=np.int64))
        return vectors

    def should_be_thorough(self, selection: Selection | None, k: int) -> bool:
        """Tell whether every selected vector should be compared: always so, or they are few, or many are wanted."""
        scarce = selection is not None and selection.count * _SCARCE < self.total
        return self._steps.always_thorough or scarce or k * _SCARCE > self.total

    def candidates_for(self, k: int) -> int:
        """Tell how many candidates to look at for `k` neighbours."""
        return k * self._steps.extra + _SPARE

    def propose(self, queries: Vectors, count: int, selection: Selection | None, *, thorough: bool) -> Positions:
        """Give the positions of `count` or more near vectors for each query, -1 where there are fewer: shape (q, n).

        :param thorough: Compare every selected vector.
        """
        if self._gpu is not None and self._gpu.can_search(count, selection, thorough=thorough):
            return self._gpu.search(queries, count, selection)
        target, params = self._steps.target_and_params(count, selection, thorough=thorough)
        positions: Positions = target.search(queries, count, params=params)[1]
        return positions

    def trained(self, exact_vectors: Callable[[Positions], Vectors]) -> Self | None:
        """Give the same vectors sorted into lists, if it is time for that; positions stay.

        :param exact_vectors: Gives the vectors at positions, uncompressed.
        """
        lists = lists_due(self.total, self._settings, now=int(getattr(self._index, "nlist", 0)))
        return None if lists is None else self._filled(lists, exact_vectors, np.arange(self.total))

    def compacted(self, exact_vectors: Callable[[Positions], Vectors], keep: Positions) -> Self:
        """Give an index of those vectors alone, in the same order; positions change."""
        return self._filled(lists_due(len(keep), self._settings, now=0), exact_vectors, keep)

    def write(self, path: Path) -> None:
        """Write everything into a file, in the form of a CPU.

        :raises OSError: If the disk is full; a file of Python tells of it at every byte, the last ones included.
        """
        faiss = load_faiss()
        with path.open("wb") as file:
            faiss.write_index(self._index, faiss.PyCallbackIOWriter(file.write, _WRITTEN_AT_ONCE))

    def _filled(self, lists: int | None, exact_vectors: Callable[[Positions], Vectors], positions: Positions) -> Self:
        """Give the vectors at these positions, in so many lists; they are never together in memory uncompressed."""
        index = start(self._settings) if lists is None else self._trained(lists, exact_vectors, positions)
        for begin in range(0, len(positions), _MOVED_AT_ONCE):
            index.add(exact_vectors(positions[begin : begin + _MOVED_AT_ONCE]))
        return type(self)(self._settings, index, device=self._device)

    def _trained(self, lists: int, exact_vectors: Callable[[Positions], Vectors], positions: Positions) -> Any:  # noqa: ANN401 -- as above
        size = min(len(positions), max(lists * TRAINED_WITH_PER_LIST, TRAINED_WITH_AT_LEAST))
        sample = np.sort(np.random.default_rng(0).choice(positions, size, replace=False))
        return train(self._settings, lists, exact_vectors(sample))


def _classes_of(settings: IndexSettings) -> tuple[str, ...]:
    """Give the FAISS classes that a kind may be in: with lists or, before there are enough vectors, without."""
    trained = {"hnsw": "IndexHNSWFlat", "ivf": "IndexIVFFlat", "ivfpq": "IndexIVFPQ"}
    flat = ("IndexFlatIP", "IndexFlat")
    if settings.kind in ("flat", "hnsw"):
        return flat if settings.kind == "flat" else (trained["hnsw"],)
    return (trained[settings.kind], *flat)


def _memory_map_flags(settings: IndexSettings) -> int:
    """Give what tells FAISS to leave vectors on disk; older versions can do so for lists only."""
    faiss = load_faiss()
    if settings.kind in ("ivf", "ivfpq"):
        return int(faiss.IO_FLAG_MMAP)
    return int(getattr(faiss, "IO_FLAG_MMAP_IFC", 0))
