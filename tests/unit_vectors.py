"""Vectors and documents for tests of the index."""

import numpy as np

from fr_reranker_plugin import StoredDocument


def unit_vectors(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    """Random directions, shape (count, dimension)."""
    vectors = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def clustered_vectors(count: int, dimension: int, *, clusters: int, seed: int = 0) -> np.ndarray:
    """Directions around random centres, as those of texts on the same subjects; the centres do not depend on `seed`."""
    centres = np.random.default_rng(1).standard_normal((clusters, dimension))
    random = np.random.default_rng(seed)
    vectors = centres[random.integers(0, clusters, count)] + 0.8 * random.standard_normal((count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def documents(count: int, start: int = 0) -> list[StoredDocument]:
    """Documents `d0`, `d1`, ..., each with its number in the metadata."""
    return [StoredDocument(f"d{place}", f"texte {place}", {"number": place}) for place in range(start, start + count)]
