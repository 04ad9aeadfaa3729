"""Whatever the kind of index: cosines, higher is better, exact filters, and deleted documents stay away."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fr_reranker_plugin import DenseIndex, Hit, IndexSettings, SettingsError, StoredDocument
from fr_reranker_plugin.retrieval import vector_index
from fr_reranker_plugin.retrieval.exact_search import top_passages
from unit_vectors import clustered_vectors, documents, unit_vectors

DIMENSION = 16
SMALL = {
    "flat": IndexSettings(dimension=DIMENSION),
    "hnsw": IndexSettings(dimension=DIMENSION, kind="hnsw", hnsw_neighbours=8, hnsw_build_width=40),
    "ivf": IndexSettings(dimension=DIMENSION, kind="ivf", ivf_lists=64, ivf_probes=24),
    "ivfpq": IndexSettings(dimension=DIMENSION, kind="ivfpq", ivf_lists=64, ivf_probes=24, pq_bytes=8),
}
KINDS = list(SMALL)
COUNT = 11_000  # enough to train compressed vectors


def expected_ids(queries: np.ndarray, vectors: np.ndarray, names: list[str], k: int) -> list[list[str]]:
    _, places = top_passages(queries, vectors, k)
    return [[names[place] for place in row] for row in places]


def found_ids(found: list[list[Hit]]) -> list[list[str]]:
    return [[hit.document.id for hit in hits] for hits in found]


def recall(found: list[list[str]], expected: list[list[str]]) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, expected, strict=True)]))


def faiss_class(index: DenseIndex) -> str:
    with index._store.reading() as contents:
        return type(contents.vectors._index).__name__


class Filled:
    """An index with `d0`, `d1`, ... and what is known of it."""

    def __init__(self, settings: IndexSettings, count: int) -> None:
        self.vectors = clustered_vectors(count, settings.dimension, clusters=count // 50, seed=2)
        self.names = [f"d{place}" for place in range(count)]
        self.queries = clustered_vectors(100, settings.dimension, clusters=count // 50, seed=3)
        self.index = DenseIndex.create(settings=settings)
        for start in range(0, count, 5000):
            self.index.add(documents(min(5000, count - start), start), self.vectors[start : start + 5000])


@pytest.fixture(scope="module", params=KINDS)
def small(request: pytest.FixtureRequest) -> Iterator[Filled]:
    filled = Filled(SMALL[request.param], COUNT)
    with filled.index:
        yield filled


def test_the_faiss_index_is_of_the_kind_asked_for() -> None:
    for kind, name in {"hnsw": "IndexHNSWFlat", "ivf": "IndexIVFFlat", "ivfpq": "IndexIVFPQ"}.items():
        with Filled(SMALL[kind], COUNT).index as index:
            assert faiss_class(index) == name


def test_scores_are_the_cosines_and_higher_is_better(small: Filled) -> None:
    found = small.index.search(small.queries, 10)
    for query, hits in zip(small.queries, found, strict=True):
        places = [int(hit.document.id[1:]) for hit in hits]
        assert np.allclose([hit.score for hit in hits], small.vectors[places] @ query, atol=1e-5)
        assert all(-1 <= hit.score <= 1 for hit in hits)
        assert hits == sorted(hits, key=lambda hit: -hit.score)
    assert recall(found_ids(found), expected_ids(small.queries, small.vectors, small.names, 10)) >= 0.95


def test_the_vectors_come_back_as_they_were_added(small: Filled) -> None:
    assert np.array_equal(small.index.vectors(["d7", "d10999"]), small.vectors[[7, 10999]])


@pytest.mark.parametrize("remaining", [3, 900, 1500, 5000])
def test_a_filter_leaves_k_of_those_that_match_however_many_they_are(small: Filled, remaining: int) -> None:
    condition = {"field": "meta.number", "operator": "<", "value": remaining}
    found = found_ids(small.index.search(small.queries[:20], 10, filters=condition))
    expected = expected_ids(small.queries[:20], small.vectors[:remaining], small.names[:remaining], 10)
    assert all(len(ids) == min(10, remaining) for ids in found)
    assert recall(found, expected) >= (1 if remaining <= 1000 else 0.95)


def test_all_documents_are_found_where_all_are_asked_for(small: Filled) -> None:
    for k in (COUNT, COUNT + 5):
        [hits] = small.index.search(small.queries[:1], k)
        assert sorted(hit.document.id for hit in hits) == sorted(small.names)


@pytest.mark.parametrize("kind", KINDS)
def test_deleted_and_replaced_documents_stay_away_before_and_after_a_save(kind: str, tmp_path) -> None:
    filled = Filled(SMALL[kind], COUNT)
    gone = [f"d{place}" for place in range(0, COUNT, 2)]
    names = [name for name in filled.names if name not in set(gone)]
    kept = np.asarray([int(name[1:]) for name in names])
    filled.vectors[kept[:500]] = -filled.vectors[kept[:500]]

    def check(index: DenseIndex) -> None:
        assert index.manifest is not None
        assert index.manifest.vectors == index.manifest.documents, "a save leaves out the dead"
        hits = [hit.document for hits in index.search(filled.queries, 10) for hit in hits]
        assert {document.id for document in hits}.isdisjoint(gone[: COUNT - len(index)])
        assert all(document.text == "neu" for document in hits if document.id in names[:500])

    with filled.index as index:
        index.delete(gone[:2500])
        index.upsert([StoredDocument(name, "neu") for name in names[:500]], filled.vectors[kept[:500]])
        index.save(tmp_path / "index")
    expected = expected_ids(filled.queries, filled.vectors[kept], names, 10)
    with DenseIndex.open(tmp_path / "index") as index:
        check(index)
        index.delete(gone[2500:])
        assert recall(found_ids(index.search(filled.queries, 10)), expected) >= (1 if kind == "flat" else 0.95)
        index.save()
        check(index)
        found = found_ids(index.search(filled.queries, 10))
        assert recall(found, expected) >= (1 if kind == "flat" else 0.95)
        assert all(len(ids) == 10 for ids in found)
    with DenseIndex.open(tmp_path / "index", read_only=True, memory_map=True) as index:
        assert recall(found_ids(index.search(filled.queries, 10)), expected) >= (1 if kind == "flat" else 0.95)
        assert np.array_equal(index.vectors([names[0], names[-1]]), filled.vectors[kept[[0, -1]]])
        assert {document.id for document in index.documents()} == set(names)


@pytest.mark.parametrize("kind", KINDS)
def test_documents_that_are_replaced_without_end_do_not_fill_the_memory(kind: str) -> None:
    vectors = unit_vectors(1000, DIMENSION)
    with DenseIndex.create(settings=SMALL[kind]) as index:
        for _ in range(12):
            index.upsert(documents(1000), vectors)
        with index._store.reading() as contents:
            assert contents.vectors.total < 6000
        assert found_ids(index.search(vectors[::50], 1)) == [[f"d{place}"] for place in range(0, 1000, 50)]
        assert np.array_equal(index.vectors(["d7", "d999"]), vectors[[7, 999]])
        index.delete(index.ids())
        assert index.search(vectors[:1], 1) == [[]]


@pytest.mark.parametrize("kind", ["ivf", "ivfpq"])
def test_what_is_left_goes_into_lists_without_a_full_copy_of_its_vectors(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    filled = Filled(SMALL[kind], 14_000)
    with filled.index as index:
        before = faiss_class(index)
        started: list[Any] = []
        real_start = vector_index.start
        monkeypatch.setattr(vector_index, "start", lambda settings: started.append(real_start(settings)) or started[-1])
        index.delete(filled.names[-3000:])
        index.save(tmp_path / "index")
        with index._store.reading() as contents:
            assert contents.vectors.total == 11_000
        assert [one.ntotal for one in started] == [0] * len(started), "no vector was put into one without lists"
        assert faiss_class(index) == before
        assert index.search(filled.queries, 1)[0]


def test_the_index_that_was_saved_is_the_one_that_is_opened(small: Filled, tmp_path) -> None:
    small.index.save(tmp_path / "index")
    before = small.index.search(small.queries, 10)
    for options in ({}, {"read_only": True}, {"read_only": True, "memory_map": True, "verify": False}):
        with DenseIndex.open(tmp_path / "index", **options) as index:
            assert index.settings == small.index.settings
            assert index.search(small.queries, 10) == before


@pytest.mark.parametrize("kind", ["ivf", "ivfpq"])
def test_lists_are_trained_when_there_are_enough_vectors_and_again_when_there_are_many_more(kind: str) -> None:
    vectors = clustered_vectors(24_000, DIMENSION, clusters=100)
    with DenseIndex.create(settings=IndexSettings(dimension=DIMENSION, kind=kind, pq_bytes=8)) as index:
        index.add(documents(9_999), vectors[:9_999])
        assert faiss_class(index) == "IndexFlatIP"
        index.add(documents(1, 9_999), vectors[9_999:10_000])
        with index._store.reading() as contents:
            assert contents.vectors._index.nlist == 256
        index.add(documents(14_000, 10_000), vectors[10_000:])
        with index._store.reading() as contents:
            assert contents.vectors._index.nlist == 615
        queries = vectors[::1000]
        names = [f"d{place}" for place in range(24_000)]
        assert recall(found_ids(index.search(queries, 10)), expected_ids(queries, vectors, names, 10)) >= 0.95


def test_few_vectors_with_lists_are_searched_exactly() -> None:
    vectors = unit_vectors(300, DIMENSION)
    for kind in ("ivf", "ivfpq"):
        with DenseIndex.create(settings=IndexSettings(dimension=DIMENSION, kind=kind)) as index:
            index.add(documents(300), vectors)
            expected = expected_ids(vectors[:5], vectors, [f"d{place}" for place in range(300)], 20)
            assert found_ids(index.search(vectors[:5], 20)) == expected


def test_many_equal_vectors_hide_nothing() -> None:
    vectors = np.concatenate([np.tile(unit_vectors(1, DIMENSION), (2000, 1)), unit_vectors(1000, DIMENSION, seed=1)])
    for kind in ("flat", "hnsw", "ivf"):
        with DenseIndex.create(settings=SMALL[kind]) as index:
            index.add(documents(3000), vectors)
            assert len(index.search(vectors[:1], 2500)[0]) == 2500
            if kind != "hnsw":  # a graph loses its way among so many equal ones; IndexSettings says so
                assert found_ids(index.search(vectors[:1], 5))[0] == [f"d{place}" for place in range(5)]
                assert found_ids(index.search(vectors[2500:2600], 1)) == [[f"d{place}"] for place in range(2500, 2600)]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"dimension": 0}, "dimension must be >= 1"),
        ({"kind": "lsh"}, "kind must be one of 'flat', 'hnsw', 'ivf', 'ivfpq', got 'lsh'"),
        ({"hnsw_neighbours": 1}, "hnsw_neighbours must be >= 2"),
        ({"hnsw_search_width": 0}, "hnsw_search_width must be >= 1"),
        ({"ivf_lists": 0}, "ivf_lists must be >= 1"),
        ({"pq_bytes": 5}, "pq_bytes must divide the dimension 16, but got 5"),
    ],
)
def test_settings_are_checked_when_built(wrong: dict, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        IndexSettings(**{"dimension": 16, **wrong})
