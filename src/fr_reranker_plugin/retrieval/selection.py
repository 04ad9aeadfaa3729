"""Which positions of an index a search may find."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fr_reranker_plugin.retrieval.faiss_loading import load_faiss

Positions = npt.NDArray[np.int64]
"""Numbers of vectors within an index."""


class Selection:
    """A set of positions.

    :param mask: For each position of the index, whether it belongs.
    """

    def __init__(self, mask: npt.NDArray[np.bool_]) -> None:
        self.mask = mask
        self.count = int(np.count_nonzero(mask))

    @classmethod
    def of(cls, positions: Positions, total: int) -> Self:
        """Select positions of an index that has `total` of them."""
        mask = np.zeros(total, dtype=np.bool_)
        mask[positions] = True
        return cls(mask)

    @property
    def positions(self) -> Positions:
        """The positions, ascending."""
        return np.flatnonzero(self.mask)

    def for_faiss(self) -> Any:  # noqa: ANN401 -- older FAISS has no types
        """Give the selection as FAISS reads it."""
        bits = np.packbits(self.mask, bitorder="little")
        return load_faiss().IDSelectorBitmap(bits)
