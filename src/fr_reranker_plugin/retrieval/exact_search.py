"""Exact nearest neighbours: every passage is compared with every query."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.settings import check_whole_number


def top_passages(
    queries: npt.NDArray[np.float32], passages: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Give the `k` passages with the highest inner product for each query, best first.

    Equal scores keep the order of the passages. The products are summed in float64, because float32 sums of equal
    vectors can differ in the last bit by where they stand in the matrix.

    :param queries: Shape (q, d).
    :param passages: Shape (n, d).
    :param k: How many per query; all of them if there are fewer.
    :return: Scores and positions of the passages, each of shape (q, min(k, n)).
    :raises SettingsError: If `k` is below 1 or the shapes do not match.
    """
    check_whole_number("k", k)
    if queries.ndim != 2 or passages.ndim != 2 or queries.shape[1] != passages.shape[1]:  # noqa: PLR2004 -- matrices
        raise SettingsError(f"expected shapes (q, d) and (n, d), got {queries.shape} and {passages.shape}")
    products = (queries.astype(np.float64) @ passages.astype(np.float64).T).astype(np.float32)
    best_first = np.argsort(-products, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(products, best_first, axis=1), best_first.astype(np.int64)
