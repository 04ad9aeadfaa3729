"""Filters on the content of documents that have one, an empty one or none: the store finds what Haystack finds."""

import pytest
from haystack import Document
from haystack.errors import FilterError
from haystack.utils.filters import document_matches_filter

from fr_reranker_plugin.haystack import FaissDocumentStore

CONTENTS = {"none": None, "empty": "", "x": "x", "date": "2020-01-01"}
DOCUMENTS = [
    Document(id=name, content=content, meta={"n": 1}, embedding=[1.0, 0.0]) for name, content in CONTENTS.items()
]


@pytest.fixture(scope="module")
def store():
    store = FaissDocumentStore(embedding_dim=2)
    store.write_documents(DOCUMENTS)
    return store


def logic(operator, *conditions):
    return {"operator": operator, "conditions": list(conditions)}


def outcome(find):
    try:
        return find()
    except (FilterError, TypeError):  # Haystack lets TypeError pass
        return "refused"


@pytest.mark.parametrize("operator", ["==", "!=", ">", ">=", "<", "<=", "in", "not in"])
@pytest.mark.parametrize("wanted", [None, "", "x", "2020-01-01T00:00:00", 1])
def test_a_content_compares_as_it_does_in_haystack(store, operator, wanted):
    lists = [[wanted], [wanted, None], [wanted, "y", ""], []]
    for value in lists if "in" in operator else [wanted]:
        compared = {"field": "content", "operator": operator, "value": value}
        for document in DOCUMENTS:
            this = {"field": "id", "operator": "==", "value": document.id}
            for condition in (compared, logic("NOT", compared), logic("OR", logic("NOT", compared), compared)):
                expected = outcome(lambda asked=condition, one=document: document_matches_filter(asked, one))
                found = outcome(
                    lambda asked=condition, one=this: store.count_documents_by_filter(logic("AND", one, asked))
                )
                assert found == expected, (document.content, condition)


def test_every_method_that_takes_a_filter_knows_documents_without_content():
    store = FaissDocumentStore(embedding_dim=2)
    store.write_documents(DOCUMENTS)
    none = {"field": "content", "operator": "==", "value": None}
    some = {"field": "content", "operator": "!=", "value": None}
    assert [document.id for document in store.filter_documents(none)] == ["none"]
    assert [document.id for document in store.embedding_retrieval([1.0, 0.0], filters=none)] == ["none"]
    assert store.count_documents_by_filter(some) == 3
    assert store.update_by_filter(none, {"n": 2, "m": 1}) == 1
    assert store.count_unique_metadata_by_filter(some, ["n", "m"]) == {"n": 1, "m": 0}
    assert store.get_metadata_field_unique_values("n", filters=none) == ([2], 1)
    assert store.delete_by_filter(none) == 1
    assert [document.id for document in store.filter_documents()] == ["empty", "x", "date"]


@pytest.mark.parametrize(
    "malformed",
    [
        {"field": "content", "operator": "=="},
        {"field": "content", "value": None},
        {"field": "content", "operator": "in", "value": "abc"},
        {"field": "content", "operator": "~", "value": None},
        {"operator": "AND", "conditions": {"field": "content"}},
        {"operator": "AND", "conditions": ["content"]},
        ["content"],
    ],
    ids=str,
)
def test_a_malformed_filter_is_refused(store, malformed):
    with pytest.raises(FilterError):
        store.filter_documents(malformed)
