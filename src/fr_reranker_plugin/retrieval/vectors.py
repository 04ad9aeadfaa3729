"""The vectors that an index takes: unit length, finite, of one dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from fr_reranker_plugin.errors import SettingsError

Vectors = npt.NDArray[np.float32]
"""Unit vectors, one a row: shape (n, dimension)."""

OptionalVectors = Vectors | Sequence[Vectors | None]
"""Unit vectors, or `None` where a document has none."""

_LENGTH_TOLERANCE: Final = 1e-3
_MATRIX: Final = 2


def check_vectors(vectors: object, *, count: int | None, dimension: int, what: str = "vectors") -> Vectors:
    """Give the vectors as a contiguous float32 matrix; a single precision is all that is kept.

    :param count: How many there must be; `None`: any number.
    :raises SettingsError: If the shape is another one, a value is not finite, or a vector has not the length 1.
    """
    try:
        matrix = np.ascontiguousarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{what} must be a matrix of numbers: {error}") from None
    if matrix.size == 0 and not count:
        matrix = matrix.reshape(0, dimension)
    if matrix.ndim != _MATRIX or matrix.shape[1] != dimension or (count is not None and len(matrix) != count):
        rows = "n" if count is None else count
        raise SettingsError(f"{what} must have the shape ({rows}, {dimension}), got {matrix.shape}")
    _check_lengths(matrix, what)
    return matrix


def unit_vectors(vectors: object, *, dimension: int | None = None, what: str = "vectors") -> Vectors:
    """Give vectors at the length 1: a cosine does not depend on their length.

    :param vectors: A matrix of numbers, shape (n, dimension).
    :param dimension: What their dimension must be; `None`: any.
    :param what: What the message calls them.
    :return: float32, shape (n, dimension).
    :raises SettingsError: If they are no such matrix, or one is not finite or all zeros.
    """
    try:
        matrix = np.asarray(vectors, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{what} must be a matrix of numbers: {error}") from None
    if matrix.ndim != _MATRIX or (dimension is not None and matrix.shape[1] != dimension):
        raise SettingsError(
            f"{what} must have the shape (n, {dimension or 'dimension'}), got {matrix.shape}; use the model that the "
            "index was made with"
        )
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    wrong = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(wrong):
        raise SettingsError(f"number {wrong[0]} of {what} is all zeros or not finite: it has no direction to compare")
    unit: Vectors = (matrix / lengths).astype(np.float32)
    return unit


def split_vectors(vectors: OptionalVectors, *, count: int, dimension: int) -> tuple[list[bool], Vectors]:
    """Tell which of `count` documents have a vector, and give those vectors in order.

    :raises SettingsError: As `check_vectors`, or if there are more or fewer than documents.
    """
    if isinstance(vectors, np.ndarray):
        return [True] * count, check_vectors(vectors, count=count, dimension=dimension)
    if len(vectors) != count:
        raise SettingsError(f"expected one vector, or None, for each of the {count} documents, got {len(vectors)}")
    given = [vector for vector in vectors if vector is not None]
    return [vector is not None for vector in vectors], check_vectors(given, count=len(given), dimension=dimension)


def _check_lengths(matrix: Vectors, what: str) -> None:
    lengths = np.sqrt(np.einsum("nd,nd->n", matrix, matrix, dtype=np.float64))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _LENGTH_TOLERANCE))
    if len(wrong):
        raise SettingsError(
            f"{what} must have the length 1, so that an inner product is a cosine; number {wrong[0]} has the length "
            f"{lengths[wrong[0]]:.4g}: divide it by its length, or look for what went wrong if that is 0 or nan"
        )
