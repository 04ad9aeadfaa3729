"""With a hundred thousand vectors: the graph misses almost nothing, and a rare match is found in every kind."""

import numpy as np
import pytest

from fr_reranker_plugin import DenseIndex, IndexSettings, StoredDocument
from fr_reranker_plugin.retrieval.exact_search import top_passages
from unit_vectors import clustered_vectors

pytestmark = pytest.mark.slow

COUNT = 100_000
DIMENSION = 64
RARE = list(range(6_007, COUNT, 10_000))
IS_RARE = {"field": "meta.rare", "operator": "==", "value": True}


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered_vectors(COUNT, DIMENSION, clusters=1000, seed=2)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return clustered_vectors(200, DIMENSION, clusters=1000, seed=3)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf", "ivfpq"])
def test_a_large_index_finds_the_nearest_and_the_rare(kind: str, vectors: np.ndarray, queries: np.ndarray) -> None:
    rare = set(RARE)
    documents = [StoredDocument(f"d{place}", "", {"rare": place in rare}) for place in range(COUNT)]
    with DenseIndex.create(settings=IndexSettings(dimension=DIMENSION, kind=kind)) as index:
        index.add(documents, vectors)
        found = index.search(queries, 10)
        found_rare = index.search(queries[:20], 5, filters=IS_RARE)
    best = top_passages(queries, vectors, 10)[1]
    shared = [
        len({int(hit.document.id[1:]) for hit in hits} & set(row))
        for hits, row in zip(found, best.tolist(), strict=True)
    ]
    assert np.mean(shared) / 10 >= {"flat": 1, "hnsw": 0.98}.get(kind, 0.9)
    best_rare = top_passages(queries[:20], vectors[RARE], 5)[1]
    assert [[hit.document.id for hit in hits] for hits in found_rare] == [
        [f"d{RARE[place]}" for place in row] for row in best_rare
    ]
