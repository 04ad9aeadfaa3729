"""Filters on the fields of a document: the store finds what Haystack finds, or refuses the field."""

import pytest
from haystack import Document
from haystack.document_stores.in_memory import InMemoryDocumentStore
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


@pytest.mark.parametrize("operator", ["==", "!=", ">", ">=", "<", "<=", "in", "not in"])
@pytest.mark.parametrize("wanted", [None, 0, 0.5, "0.5", [0.5, None]])
def test_a_score_compares_as_it_does_in_haystack(operator, wanted):
    scores = {"none": None, "zero": 0.0, "half": 0.5, "whole": 1, "below": -2.5}
    documents = [Document(id=name, content="x", score=score, meta={"score": 7}) for name, score in scores.items()]
    ours, theirs = FaissDocumentStore(embedding_dim=2), InMemoryDocumentStore(shared=False)
    for store in (ours, theirs):
        store.write_documents(documents)
    listed = "in" in operator and not isinstance(wanted, list)
    asked = {"field": "score", "operator": operator, "value": [wanted] if listed else wanted}
    for condition in (asked, logic("NOT", asked)):
        expected, found = (
            outcome(lambda one=store, asked=condition: [document.id for document in one.filter_documents(asked)])
            for store in (theirs, ours)
        )
        assert found == expected


@pytest.mark.parametrize("field", ["embedding", "sparse_embedding", "blob", "blob.mime_type", "meta"])
@pytest.mark.parametrize("operator", ["==", "!=", "in"])
def test_a_field_that_is_not_looked_into_is_refused_and_nothing_is_deleted(field, operator):
    store = FaissDocumentStore(embedding_dim=2)
    store.write_documents([*DOCUMENTS, Document(id="bare")])
    asked = {"field": field, "operator": operator, "value": [None] if operator == "in" else None}
    for condition in (asked, logic("OR", asked)):
        with pytest.raises(FilterError, match=f"'{field}' cannot be filtered on.*'meta.{field}'"):
            store.delete_by_filter(condition)
    assert store.count_documents() == len(DOCUMENTS) + 1


def test_a_metadata_key_may_have_the_name_of_a_field():
    store = FaissDocumentStore(embedding_dim=2)
    store.write_documents([Document(id="a", meta={"embedding": 1, "score": 2}, score=0.5), Document(id="b")])
    for key, value in (("embedding", 1), ("score", 2)):
        found = store.filter_documents({"field": f"meta.{key}", "operator": "==", "value": value})
        assert [document.id for document in found] == ["a"]


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


@pytest.mark.parametrize("empty", [{}, None, [], ""], ids=repr)
async def test_an_empty_filter_changes_nothing_and_finds_everything(empty):
    store = FaissDocumentStore(embedding_dim=2)
    store.write_documents(DOCUMENTS)
    for change in (store.delete_by_filter, lambda asked: store.update_by_filter(asked, {"n": 2})):
        with pytest.raises(FilterError, match="expected a filter that says which documents"):
            change(empty)
    for change in (store.delete_by_filter_async, lambda asked: store.update_by_filter_async(asked, {"n": 2})):
        with pytest.raises(FilterError, match="delete_all_documents deletes all"):
            await change(empty)
    found = store.filter_documents(empty)
    assert [(one.id, one.meta) for one in found] == [(one.id, one.meta) for one in DOCUMENTS]
    store.delete_all_documents()
    assert store.count_documents() == 0


def test_what_is_said_to_match_all_matches_all():
    store = FaissDocumentStore(embedding_dim=2)
    store.write_documents(DOCUMENTS)
    assert store.update_by_filter(logic("AND"), {"n": 2}) == len(DOCUMENTS)
    assert store.delete_by_filter(logic("AND")) == len(DOCUMENTS)


@pytest.mark.parametrize("names", [["meta.n", "at"], ["n", "meta.n"], ["meta.at"]])
async def test_fields_are_counted_under_the_names_that_haystack_gives_them(names):
    documents = [Document(id="a", meta={"n": 1, "at": "x"}), Document(id="b", meta={"n": 2, "at": "x"})]
    ours, theirs = FaissDocumentStore(embedding_dim=2), InMemoryDocumentStore(shared=False)
    for store in (ours, theirs):
        store.write_documents(documents)
    expected = theirs.count_unique_metadata_by_filter({}, names)
    assert ours.count_unique_metadata_by_filter({}, names) == expected
    assert await ours.count_unique_metadata_by_filter_async({}, names) == expected


def test_the_name_of_a_field_loses_its_prefix_once():
    store = FaissDocumentStore(embedding_dim=2)
    store.write_documents([Document(id=str(n), meta={"n": n, "meta": {"n": 0}}) for n in range(3)])
    assert store.count_unique_metadata_by_filter({}, ["meta.meta.n", "meta.n"]) == {"meta.n": 1, "n": 3}
