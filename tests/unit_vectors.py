"""Vectors and documents for tests of the index."""

import numpy as np

from fr_reranker_plugin import StoredDocument


def unit_vectors(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    """Random directions, shape (count, dimension)."""
    vectors = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def documents(count: int, start: int = 0) -> list[StoredDocument]:
    """Documents `d0`, `d1`, ..., each with its number in the metadata."""
    return [StoredDocument(f"d{place}", f"texte {place}", {"number": place}) for place in range(start, start + count)]
