"""How each kind of FAISS index is started, trained and searched."""

from __future__ import annotations

import math
from typing import Any, Final, Protocol

from fr_reranker_plugin.retrieval.faiss_loading import load_faiss
from fr_reranker_plugin.retrieval.index_settings import IndexSettings
from fr_reranker_plugin.retrieval.selection import Selection
from fr_reranker_plugin.retrieval.vectors import Vectors

VECTORS_PER_LIST: Final = 39
"""FAISS wants that many to place the centre of a list."""

TRAINED_WITH_PER_LIST: Final = 64
TRAINED_WITH_AT_LEAST: Final = 16_384
FEWEST_TO_TRAIN: Final = 10_000
"""A compressed vector chooses among 256 values per byte, and those are trained too."""


class SearchSteps(Protocol):
    """What differs between kinds when they are searched."""

    is_exact: bool
    """Whether a thorough search gives the nearest vectors themselves."""
    always_thorough: bool
    extra: int
    """How many candidates to look at for each neighbour."""

    def target_and_params(self, count: int, selection: Selection | None, *, thorough: bool) -> tuple[Any, Any]:
        """Give the FAISS index to search and its parameters.

        :param count: How many candidates are wanted.
        :param thorough: Compare every selected vector.
        """


class FlatSteps:
    """Every vector is compared."""

    is_exact = True
    always_thorough = True
    extra = 1

    def __init__(self, index: Any, _: IndexSettings) -> None:  # noqa: ANN401 -- older FAISS has no types
        self._index = index

    def target_and_params(self, count: int, selection: Selection | None, *, thorough: bool) -> tuple[Any, Any]:  # noqa: ARG002 -- see the protocol
        """See `SearchSteps`."""
        return self._index, load_faiss().SearchParameters(sel=_selector(selection))


class GraphSteps:
    """Links lead from vector to nearer vector; the vectors themselves lie flat beside the graph."""

    is_exact = True
    always_thorough = False
    extra = 1

    def __init__(self, index: Any, settings: IndexSettings) -> None:  # noqa: ANN401 -- as above
        self._index = index
        self._flat = load_faiss().downcast_index(index.storage)
        self._width = settings.hnsw_search_width

    def target_and_params(self, count: int, selection: Selection | None, *, thorough: bool) -> tuple[Any, Any]:
        """See `SearchSteps`."""
        faiss, selector = load_faiss(), _selector(selection)
        if thorough:
            return self._flat, faiss.SearchParameters(sel=selector)
        width = math.ceil(max(self._width, count) * _scarcity(selection, self._index.ntotal))
        return self._index, faiss.SearchParametersHNSW(sel=selector, efSearch=width)


class ListSteps:
    """Vectors stand in lists around centres; only the nearest lists are read."""

    always_thorough = False

    def __init__(self, index: Any, settings: IndexSettings) -> None:  # noqa: ANN401 -- as above
        self._index = index
        self._probes = settings.ivf_probes
        self.is_exact = settings.kind == "ivf"
        self.extra = 1 if self.is_exact else 8

    def target_and_params(self, count: int, selection: Selection | None, *, thorough: bool) -> tuple[Any, Any]:  # noqa: ARG002 -- see the protocol
        """See `SearchSteps`."""
        lists = int(self._index.nlist)
        probes = lists if thorough else math.ceil(self._probes * _scarcity(selection, self._index.ntotal))
        params = load_faiss().SearchParametersIVF(sel=_selector(selection), nprobe=min(lists, probes))
        return self._index, params


def steps_for(index: Any, settings: IndexSettings) -> SearchSteps:  # noqa: ANN401 -- as above
    """Choose by what the FAISS index is: one with lists is flat until it is trained."""
    faiss = load_faiss()
    if isinstance(index, faiss.IndexHNSW):
        return GraphSteps(index, settings)
    return ListSteps(index, settings) if isinstance(index, faiss.IndexIVF) else FlatSteps(index, settings)


def start(settings: IndexSettings) -> Any:  # noqa: ANN401 -- as above
    """Start an index without vectors."""
    faiss = load_faiss()
    if settings.kind != "hnsw":
        return faiss.IndexFlatIP(settings.dimension)
    index = faiss.IndexHNSWFlat(settings.dimension, settings.hnsw_neighbours, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = settings.hnsw_build_width
    return index


def lists_due(total: int, settings: IndexSettings, *, now: int) -> int | None:
    """Tell into how many lists `total` vectors should be sorted; `None` if they should stay in the lists they have.

    :param now: How many lists there are; 0 is none.
    """
    if settings.kind not in ("ivf", "ivfpq"):
        return None
    lists = settings.ivf_lists or min(total // VECTORS_PER_LIST, math.ceil(4 * math.sqrt(total)))
    enough = settings.ivf_lists * VECTORS_PER_LIST if settings.ivf_lists is not None else FEWEST_TO_TRAIN
    if total < (enough if settings.kind == "ivf" else max(enough, FEWEST_TO_TRAIN)):
        return None
    return lists if now == 0 or (settings.ivf_lists is None and lists >= 2 * now) else None


def train(settings: IndexSettings, lists: int, sample: Vectors) -> Any:  # noqa: ANN401 -- as above
    """Give an index with lists around centres that were placed by a sample of the vectors, and without vectors yet."""
    faiss = load_faiss()
    centres, metric = faiss.IndexFlatIP(settings.dimension), faiss.METRIC_INNER_PRODUCT
    if settings.kind == "ivf":
        index = faiss.IndexIVFFlat(centres, settings.dimension, lists, metric)
    else:
        index = faiss.IndexIVFPQ(centres, settings.dimension, lists, settings.compressed_bytes, 8, metric)
    index.nprobe = settings.ivf_probes
    index.train(sample)
    index.make_direct_map(True)  # noqa: FBT003 -- FAISS names it nothing
    return index


def _selector(selection: Selection | None) -> Any:  # noqa: ANN401 -- as above
    return None if selection is None else selection.for_faiss()


def _scarcity(selection: Selection | None, total: int) -> float:
    """Tell how many vectors there are for each selected one."""
    return 1.0 if selection is None else total / max(1, selection.count)
