"""A copy of the vectors on a GPU, where FAISS has one: searched in place of the original, never saved."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from fr_reranker_plugin.errors import GpuMemoryError, SettingsError
from fr_reranker_plugin.retrieval.faiss_loading import load_faiss
from fr_reranker_plugin.retrieval.index_settings import IndexKind, SearchDevice
from fr_reranker_plugin.retrieval.selection import Positions, Selection
from fr_reranker_plugin.retrieval.vectors import Vectors

logger = logging.getLogger(__name__)

_MOST_CANDIDATES: Final = 2048
"""FAISS finds no more per query on a GPU."""

_TEMPORARY_BYTES: Final = 256 << 20
"""Left to itself, FAISS sets 1.5 GB aside for each index."""

_KINDS: Final = ("flat", "ivf")
"""A graph has no form there, and compressed vectors are few enough for the CPU."""


class GpuCopy:
    """Vectors on the first GPU. One search runs at a time, as FAISS asks for.

    :param index: The FAISS index to copy.
    """

    def __init__(self, index: Any) -> None:  # noqa: ANN401 -- older FAISS has no types
        faiss = load_faiss()
        self._one_at_a_time = threading.Lock()
        self._resources = faiss.StandardGpuResources()
        self._resources.setTempMemory(_TEMPORARY_BYTES)
        self._index = faiss.index_cpu_to_gpu(self._resources, 0, index)
        self._compares_all = not isinstance(index, faiss.IndexIVF)

    def add(self, vectors: Vectors) -> None:
        """Append vectors."""
        with self._one_at_a_time:
            self._index.add(vectors)

    def can_search(self, count: int, selection: Selection | None, *, thorough: bool) -> bool:
        """Tell whether the GPU can find that many: it knows no selection, so what is left out must be few enough."""
        wanted = count + self._left_out(selection)
        return wanted <= _MOST_CANDIDATES and (self._compares_all or not thorough)

    def search(self, queries: Vectors, count: int, selection: Selection | None) -> Positions:
        """Give the positions of at least `count` near vectors for each query, -1 where there are fewer."""
        wanted = min(self._index.ntotal, count + self._left_out(selection))
        with self._one_at_a_time:
            positions: Positions = self._index.search(queries, wanted)[1]
        if selection is not None:
            may_be_found = np.zeros(self._index.ntotal, dtype=np.bool_)
            may_be_found[: len(selection.mask)] = selection.mask
            positions[~may_be_found[positions]] = -1
        return positions

    def _left_out(self, selection: Selection | None) -> int:
        return 0 if selection is None else int(self._index.ntotal) - selection.count


@contextmanager
def room_for_copy(device: SearchDevice) -> Iterator[None]:
    """Copy vectors to a GPU, or go on without where none was asked for by name.

    :raises GpuMemoryError: If `device` is `"cuda"` and FAISS fails there, as it does without room.
    """
    try:
        yield
    except RuntimeError as error:
        if device == "cuda":
            raise GpuMemoryError(
                f"the vectors could not be copied to the GPU, which has no room or is lost ({error}); free memory "
                "there, or search on the CPU with device='cpu'"
            ) from error
        logger.warning("the index is searched on the CPU: its vectors could not be copied to the GPU (%s)", error)


def use_gpu(device: SearchDevice, kind: IndexKind) -> bool:
    """Decide whether to copy an index to a GPU.

    :raises SettingsError: If `device` is `"cuda"` and FAISS has no GPU, or this kind of index has no form there.
    """
    if device == "cpu":
        return False
    faiss = load_faiss()
    has_gpu = hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0
    has_form = kind in _KINDS
    if device == "cuda" and not has_gpu:
        raise SettingsError(
            "device='cuda' needs an NVIDIA GPU and FAISS for it: pip install 'fr-reranker-plugin[gpu]'; or use 'auto'"
        )
    if device == "cuda" and not has_form:
        raise SettingsError(f"the kind {kind!r} is searched on the CPU only; use device='auto', or another kind")
    return has_gpu and has_form
