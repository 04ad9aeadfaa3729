"""The nearest vectors of each query, scored exactly and in one order, whatever the kind of index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from fr_reranker_plugin.retrieval.selection import Positions, Selection
from fr_reranker_plugin.retrieval.vector_index import VectorIndex
from fr_reranker_plugin.retrieval.vectors import Vectors

Neighbour = tuple[int, float]
"""The position of a vector, and its cosine with the query in [-1, 1]."""

_FEW: Final = 1000
"""So few selected vectors are compared directly, without asking FAISS."""

_SAME: Final = 1e-5
"""FAISS sums in another order than we do: scores nearer than this may stand in another order there."""

_VECTORS_AT_ONCE: Final = 8192


@dataclass(frozen=True, slots=True)
class Nearest:
    """Finds neighbours in an index.

    :param index: Proposes candidates.
    :param exact_vectors: Gives the vectors at positions, uncompressed.
    """

    index: VectorIndex
    exact_vectors: Callable[[Positions], Vectors]

    def search(self, queries: Vectors, k: int, selection: Selection | None) -> list[list[Neighbour]]:
        """Give the `k` nearest selected vectors of each query, best first; equal ones in order of position.

        There are `k` for each query if that many are selected.

        :param selection: What may be found; `None`: everything.
        """
        available = self.index.total if selection is None else selection.count
        k = min(k, available)
        if not k or not len(queries):
            return [[] for _ in queries]
        if selection is not None and available <= max(k, _FEW):
            scores = self._scores(queries, selection.positions)
            return [_best(selection.positions, row, k) for row in scores]
        return self._ask_faiss(queries, k, selection, available)

    def _ask_faiss(
        self, queries: Vectors, k: int, selection: Selection | None, available: int
    ) -> list[list[Neighbour]]:
        """Search, and search on for the queries whose last neighbours might be others, among ever more candidates."""
        found: list[list[Neighbour]] = [[] for _ in queries]
        unsettled = np.arange(len(queries))
        thorough = self.index.should_be_thorough(selection, k)
        count = min(available, self.index.candidates_for(k))
        while len(unsettled):
            proposed = self.index.propose(queries[unsettled], count, selection, thorough=thorough)
            left = []
            for row, positions in zip(unsettled, proposed, strict=True):
                candidates = positions[positions >= 0]
                ranked = _best(candidates, self._scores(queries[row : row + 1], candidates)[0], len(candidates))
                found[row] = ranked[:k]
                if not self._is_settled(ranked, k, thorough=thorough):
                    left.append(row)
            if thorough and count == available:
                break
            count = min(available, count * 4) if thorough else count
            unsettled, thorough = np.asarray(left, dtype=np.int64), True
        return found

    def _is_settled(self, ranked: list[Neighbour], k: int, *, thorough: bool) -> bool:
        """Tell whether nothing that was not proposed could be among the best `k`."""
        if not (thorough and self.index.is_exact):
            return len(ranked) >= k
        return len(ranked) > k and ranked[k - 1][1] - ranked[-1][1] > _SAME

    def _scores(self, queries: Vectors, positions: Positions) -> Vectors:
        """Give the cosines of queries with the vectors at positions, shape (q, n): equal for equal vectors."""
        scores = np.empty((len(queries), len(positions)), dtype=np.float32)
        for start in range(0, len(positions), _VECTORS_AT_ONCE):
            some = slice(start, start + _VECTORS_AT_ONCE)
            vectors = self.exact_vectors(positions[some]).astype(np.float64)
            for row, query in enumerate(queries.astype(np.float64)):
                scores[row, some] = np.einsum("nd,d->n", vectors, query)
        return np.clip(scores, -1, 1)


def _best(positions: Positions, scores: Vectors, k: int) -> list[Neighbour]:
    best = np.lexsort((positions, -scores))[:k]
    return list(zip(positions[best].tolist(), scores[best].tolist(), strict=True))
