"""An index finds what comparing everything finds, and holds what it was given."""

from collections.abc import Sequence

import numpy as np
import pytest

from fr_reranker_plugin import (
    DenseIndex,
    DuplicateDocumentError,
    Hit,
    IndexClosedError,
    IndexSettings,
    SettingsError,
    StoredDocument,
)
from fr_reranker_plugin.retrieval.exact_search import top_passages
from unit_vectors import documents, unit_vectors

DIMENSION = 16


def index_of(count: int, *, seed: int = 0) -> tuple[DenseIndex, np.ndarray]:
    index, vectors = (
        DenseIndex.create(settings=IndexSettings(dimension=DIMENSION)),
        unit_vectors(count, DIMENSION, seed),
    )
    index.add(documents(count), vectors)
    return index, vectors


def ids_of(hits: Sequence[Hit]) -> list[str]:
    return [hit.document.id for hit in hits]


@pytest.mark.parametrize("k", [1, 10, 3000])
def test_the_best_are_those_of_comparing_everything(k: int) -> None:
    index, vectors = index_of(2500)
    queries = unit_vectors(20, DIMENSION, seed=1)
    scores, places = top_passages(queries, vectors, k)
    with index:
        for row, hits in enumerate(index.search(queries, k)):
            assert ids_of(hits) == [f"d{place}" for place in places[row]]
            assert np.allclose([hit.score for hit in hits], scores[row], atol=1e-5)
            assert all(-1 <= hit.score <= 1 for hit in hits)


def test_equal_vectors_come_in_the_order_of_the_documents() -> None:
    few = unit_vectors(3, DIMENSION)
    with DenseIndex.create(settings=IndexSettings(dimension=DIMENSION)) as index:
        index.add(documents(2400), np.tile(few, (800, 1)))
        for k in (1, 5, 799, 801, 2400):
            expected = [f"d{place}" for place in top_passages(few[:1], np.tile(few, (800, 1)), k)[1][0]]
            assert ids_of(index.search(few[:1], k)[0]) == expected


def test_what_was_given_comes_back_and_stays_as_it_was() -> None:
    metadata = {"année": 2020, "a": {"b": [1, 2.5, None, True, "é"]}}
    document = StoredDocument("L'été", "texte\x00\n👨‍👩‍👧", metadata)
    with DenseIndex.create(settings=IndexSettings(dimension=2)) as index:
        index.add([document], np.asarray([[0.6, 0.8]], np.float32))
        metadata["later"] = 1
        del metadata["later"]
        assert index.get(["L'été"]) == [document]
        assert index.search(np.asarray([[1, 0]], np.float32), 1) == [[Hit(document, pytest.approx(0.6))]]
        assert np.array_equal(index.vectors(["L'été"]), np.asarray([[0.6, 0.8]], np.float32))


def test_documents_come_in_the_order_of_adding_a_page_at_a_time() -> None:
    index, _ = index_of(2500)
    with index:
        index.delete(["d7"])
        index.upsert([StoredDocument("d5", "neu")], unit_vectors(1, DIMENSION))
        expected = [f"d{place}" for place in range(2500) if place != 7]
        assert [document.id for document in index.documents()] == index.ids() == expected
        assert next(document for document in index.documents() if document.id == "d5").text == "neu"
        assert len(index) == index.count() == 2499


def test_get_keeps_the_order_asked_and_leaves_out_what_is_not_there() -> None:
    index, _ = index_of(10)
    with index:
        assert [document.id for document in index.get(["d3", "nope", "d1", "d3"])] == ["d3", "d1", "d3"]
        assert index.get([]) == []


def test_a_document_without_a_vector_is_filtered_but_not_searched() -> None:
    vector = unit_vectors(1, DIMENSION)
    with DenseIndex.create(settings=IndexSettings(dimension=DIMENSION)) as index:
        index.add(documents(2), [None, vector[0]])
        assert index.ids() == ["d0", "d1"]
        assert ids_of(index.search(vector, 5)[0]) == ["d1"]
        assert np.isnan(index.vectors(["d0", "nope"])).all()
        assert np.array_equal(index.vectors(["d1"]), vector)


def test_a_taken_id_is_refused_and_nothing_is_added() -> None:
    index, _ = index_of(5)
    with index:
        with pytest.raises(DuplicateDocumentError, match="the id 'd4' is taken"):
            index.add([StoredDocument("new", ""), StoredDocument("d4", "")], unit_vectors(2, DIMENSION))
        assert index.ids() == [f"d{place}" for place in range(5)]


def test_an_id_twice_in_one_call_is_refused_and_nothing_is_added() -> None:
    index, _ = index_of(5)
    with index:
        for write in (index.add, index.upsert):
            with pytest.raises(SettingsError, match="the id 'x' stands twice"):
                write([StoredDocument("x", "1"), StoredDocument("x", "2")], unit_vectors(2, DIMENSION))
        assert len(index) == 5


def test_an_upsert_replaces_text_metadata_and_vector() -> None:
    index, vectors = index_of(5)
    with index:
        index.upsert([StoredDocument("d0", "neu", {"a": 1}), StoredDocument("d9", "")], -vectors[[0, 1]])
        assert index.get(["d0"]) == [StoredDocument("d0", "neu", {"a": 1})]
        assert np.array_equal(index.vectors(["d0"]), -vectors[:1])
        assert ids_of(index.search(-vectors[:1], 1)[0]) == ["d0"]
        assert sorted(ids_of(index.search(vectors[:1], 10)[0])) == ["d0", "d1", "d2", "d3", "d4", "d9"]


def test_an_update_keeps_the_vector() -> None:
    index, vectors = index_of(5)
    with index:
        assert index.update([StoredDocument("d0", "neu", {"a": 1}), StoredDocument("nope", "")]) == 1
        assert index.get(["d0", "nope"]) == [StoredDocument("d0", "neu", {"a": 1})]
        assert np.array_equal(index.vectors(["d0"]), vectors[:1])


def test_what_is_deleted_is_not_found_and_may_be_added_again() -> None:
    index, vectors = index_of(50)
    with index:
        assert index.delete(["d0", "nope", "d0", "d1"]) == 2
        assert index.delete([]) == 0
        assert not {"d0", "d1"} & set(ids_of(index.search(vectors[:1], 50)[0]))
        assert index.get(["d0"]) == []
        index.add([StoredDocument("d0", "encore")], vectors[:1])
        assert ids_of(index.search(vectors[:1], 1)[0]) == ["d0"]


@pytest.mark.parametrize("ids", ["d1", ["d1", 2], [None]])
def test_what_is_no_list_of_ids_is_refused_and_nothing_is_deleted(ids: Sequence[str]) -> None:
    index, _ = index_of(0)
    letters = [StoredDocument(letter, "texte") for letter in "d12"]
    index.add(letters, unit_vectors(3, DIMENSION))
    with index:
        for refused in (index.delete, index.get, index.vectors):
            with pytest.raises(SettingsError, match="id"):
                refused(ids)
        assert list(index.documents()) == letters


def test_an_empty_index_finds_nothing() -> None:
    with DenseIndex.create(settings=IndexSettings(dimension=DIMENSION)) as index:
        assert index.search(unit_vectors(3, DIMENSION), 5) == [[], [], []]
        assert index.search(np.empty((0, DIMENSION), np.float32), 5) == []
        index.add([], np.empty((0, DIMENSION), np.float32))
        index.add([], [])
        assert (list(index.documents()), len(index)) == ([], 0)


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        (np.zeros((2, DIMENSION)), r"number 0 has the length 0:"),
        (unit_vectors(2, DIMENSION) * np.asarray([[1], [1.01]]), "number 1 has the length 1.01"),
        (unit_vectors(2, DIMENSION) * np.asarray([[1], [np.nan]]), "number 1 has the length nan"),
        (unit_vectors(2, DIMENSION) * np.asarray([[1], [np.inf]]), "number 1 has the length inf"),
        (unit_vectors(3, DIMENSION), r"must have the shape \(2, 16\), got \(3, 16\)"),
        (unit_vectors(2, DIMENSION + 1), r"must have the shape \(2, 16\), got \(2, 17\)"),
        (unit_vectors(2, DIMENSION)[0], r"must have the shape \(2, 16\), got \(16,\)"),
        ([None], "one vector, or None, for each of the 2 documents, got 1"),
        ([None, "abc"], "must be a matrix of numbers"),
    ],
)
def test_vectors_that_are_not_unit_vectors_of_the_dimension_are_refused(vectors: object, says: str) -> None:
    with DenseIndex.create(settings=IndexSettings(dimension=DIMENSION)) as index:
        for write in (index.add, index.upsert):
            with pytest.raises(SettingsError, match=says):
                write(documents(2), vectors)
        assert len(index) == 0


def test_a_search_checks_its_queries_and_k() -> None:
    index, vectors = index_of(3)
    with index:
        with pytest.raises(SettingsError, match=r"queries must have the shape \(n, 16\), got \(16,\)"):
            index.search(vectors[0], 1)
        with pytest.raises(SettingsError, match="queries must have the length 1"):
            index.search(vectors * 2, 1)
        for k in (0, -1, True, 1.5):
            with pytest.raises(SettingsError, match="k must be"):
                index.search(vectors, k)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (("a", "b"), "document 0 must be a StoredDocument, got tuple"),
        (StoredDocument(1, ""), "the id of document 0 must be a string, got int"),
        (StoredDocument("a", None), "the text of document 'a' must be a string, got NoneType"),
        (StoredDocument("a", "x\ud800"), "the text of document 'a' has half a character at position 1"),
        (StoredDocument("a", "", {"b": float("nan")}), "'b' is nan"),
        (StoredDocument("a", "", {"b": {1: 2}}), "'b' is {1: 2}"),
        (StoredDocument("a", "", {"b": (1, 2)}), r"'b' is \(1, 2\)"),
        (StoredDocument("a", "", {1: 2}), "1 is 2"),
        (StoredDocument("a", "", {"b": "\ud800"}), "'b' is"),
        (StoredDocument("a", "", {"b": object()}), "'b' is <object"),
    ],
)
def test_what_would_not_come_back_equal_is_refused(document: object, says: str) -> None:
    with DenseIndex.create(settings=IndexSettings(dimension=DIMENSION)) as index:
        with pytest.raises(SettingsError, match=says):
            index.add([document], unit_vectors(1, DIMENSION))  # type: ignore[list-item]
        assert len(index) == 0


def test_after_closing_everything_says_so() -> None:
    index, vectors = index_of(3)
    index.close()
    index.close()
    uses = [
        lambda: index.add([], []),
        lambda: index.search(vectors, 1),
        lambda: index.delete(["d0"]),
        lambda: index.get(["d0"]),
        lambda: list(index.documents()),
        index.count,
        index.save,
        index.reload,
    ]
    for use in uses:
        with pytest.raises(IndexClosedError, match="the index in memory is closed"):
            use()
