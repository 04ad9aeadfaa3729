"""Filters of the vector store: what each form means, and what is refused."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.embeddings import DeterministicFakeEmbedding

from fr_reranker_plugin import FilterError
from fr_reranker_plugin.langchain import FaissVectorStore
from fr_reranker_plugin.langchain.filters import to_filter

YEAR = "meta.year"
METADATA = [
    {"year": 2019, "town": "Lyon", "id": 1, "open": True},
    {"year": 2020, "town": "Lyon", "at": {"floor": 2}},
    {"year": 2021, "town": "Paris", "tags": ["a", "b"], "at": {"floor": 3}},
    {"year": 2022.5, "town": None, "day": "2024-05-01"},
    {"town": "Évry"},
]

MEANINGS = [
    ({"year": 2020}, [1]),
    ({"year": {"$eq": 2020}}, [1]),
    ({"year": {"$ne": 2020}}, [0, 2, 3, 4]),
    ({"year": {"$gt": 2020}}, [2, 3]),
    ({"year": {"$gte": 2020}}, [1, 2, 3]),
    ({"year": {"$lt": 2020}}, [0]),
    ({"year": {"$lte": 2020}}, [0, 1]),
    ({"year": {"$gte": 2020, "$lt": 2022}}, [1, 2]),
    ({"year": {"$in": [2019, 2021, 1]}}, [0, 2]),
    ({"year": {"$in": []}}, []),
    ({"year": {"$nin": [2019, 2021]}}, [1, 3, 4]),
    ({"year": [2019, 2021]}, [0, 2]),
    ({"town": ("Lyon", "Évry")}, [0, 1, 4]),
    ({"town": {"Paris"}}, [2]),
    ({"town": "Lyon", "year": 2020}, [1]),
    ({"town": "Lyon", "year": {"$gt": 2019}}, [1]),
    ({"town": None}, [3]),
    ({"year": None}, [4]),
    ({"year": {"$eq": None}}, [4]),
    ({"open": True}, [0]),
    ({"id": 1}, [0]),
    ({"at.floor": 3}, [2]),
    ({"at": {"floor": 3}}, [2]),
    ({"tags": {"$eq": ["a", "b"]}}, [2]),
    ({"day": {"$gt": "2024-04-30"}}, [3]),
    ({"day": {"$gt": date(2024, 4, 30), "$lte": date(2024, 5, 1)}}, [3]),
    ({"day": date(2024, 5, 1)}, [3]),
    ({"day": {date(2024, 5, 1), date(2024, 5, 2)}}, [3]),
    ({"field": "meta.day", "operator": "<", "value": date(2024, 5, 2)}, [3]),
    ({"$and": [{"town": "Lyon"}, {"year": {"$lt": 2020}}]}, [0]),
    ({"$or": [{"town": "Paris"}, {"year": 2019}]}, [0, 2]),
    ({"$not": {"town": "Lyon"}}, [2, 3, 4]),
    ({"$not": {"town": "Lyon", "year": 2020}}, [0, 2, 3, 4]),
    ({"year": {"$not": {"$gte": 2020}}}, [0, 4]),
    ({"town": {"$not": {"$in": ["Lyon", "Paris"]}}}, [3, 4]),
    ({"town": "Lyon", "$or": [{"year": 2019}, {"year": 2021}]}, [0]),
    ({"$and": [{"$or": [{"year": 2019}, {"year": 2021}]}, {"$not": {"town": "Paris"}}]}, [0]),
    ({}, [0, 1, 2, 3, 4]),
    (None, [0, 1, 2, 3, 4]),
    ({"field": YEAR, "operator": ">=", "value": 2020}, [1, 2, 3]),
    ({"field": "content", "operator": "==", "value": "texte 4"}, [4]),
    (
        {
            "operator": "OR",
            "conditions": [
                {"field": YEAR, "operator": "==", "value": 2019},
                {"field": "meta.town", "operator": "in", "value": ["Évry"]},
            ],
        },
        [0, 4],
    ),
]

REFUSED = [
    ("year == 2020", "must be a dictionary, got str"),
    (lambda metadata: True, "must be a dictionary, got function"),
    ([], "must be a dictionary, got list"),
    ({"$nor": [{"year": 1}]}, r"'\$nor'.*\$and, \$or, \$not"),
    ({"year": {"$between": [1, 2]}}, r"'\$between' for 'year'.*\$eq"),
    ({"year": {"$gt": 1, "less": 2}}, "'less'"),
    ({"$and": {"year": 1}}, "must be a list of filters"),
    ({"$or": [1]}, "must be a dictionary, got int"),
    ({"$not": [{"year": 1}]}, "must be a dictionary, got list"),
    ({3: 1}, "must be strings"),
    ({"year": {"$gt": [1]}}, "compares numbers or dates"),
    ({"year": {"$in": 3}}, "must be a list"),
    ({"year": {1, object()}}, "JSON values"),
    ({"operator": "XOR", "conditions": []}, "XOR"),
    ({"field": YEAR, "operator": "~", "value": 1}, "'~'"),
]


@pytest.fixture(scope="module")
def store():
    made = FaissVectorStore.from_texts(
        [f"texte {n}" for n in range(5)], DeterministicFakeEmbedding(size=6), METADATA, ids=list("01234")
    )
    yield made
    made.close()


def found_by(store, given):
    return sorted(int(document.id) for document in store.similarity_search("?", k=10, filter=given))


@pytest.mark.parametrize(("given", "expected"), MEANINGS)
async def test_a_filter_finds_exactly_what_it_says(store, given, expected):
    assert found_by(store, given) == expected
    nearest = await store.asimilarity_search("?", k=10, filter=given)
    assert sorted(int(document.id) for document in nearest) == expected
    diverse = store.max_marginal_relevance_search("?", k=10, filter=given)
    assert sorted(int(document.id) for document in diverse) == expected


@pytest.mark.parametrize(("given", "said"), REFUSED)
async def test_what_is_no_filter_is_refused_even_by_an_empty_store(store, given, said):
    empty = FaissVectorStore(DeterministicFakeEmbedding(size=6))
    for asked in (store, empty):
        with pytest.raises(FilterError, match=said):
            asked.similarity_search("?", filter=given)
        with pytest.raises(FilterError, match=said):
            await asked.asimilarity_search("?", filter=given)
        with pytest.raises(FilterError, match=said):
            asked.max_marginal_relevance_search_by_vector([1.0] * 6, filter=given)


def test_values_that_have_no_order_are_refused_by_the_search(store):
    with pytest.raises(FilterError):
        store.similarity_search("?", filter={"town": {"$gt": 3}})


plain = st.dictionaries(st.sampled_from(["year", "town"]), st.sampled_from([2019, 2020, "Lyon", None]), max_size=2)
compared = st.fixed_dictionaries({"year": st.dictionaries(st.sampled_from(["$gt", "$lte", "$ne"]), st.just(2020))})
langchain_filters = st.recursive(
    plain | compared,
    lambda inner: (
        st.fixed_dictionaries({"$or": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"$and": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"$not": inner})
    ),
    max_leaves=6,
)


def matches(metadata, given):
    """What a filter means, in plain Python, for what the strategy draws."""

    def entry(key, value):
        if key in ("$or", "$and"):
            return {"$or": any, "$and": all}[key](matches(metadata, part) for part in value)
        if key == "$not":
            return not matches(metadata, value)
        have = metadata.get(key)
        if not isinstance(value, dict) or value == {}:
            return have == value
        compare = {
            "$gt": lambda wanted: have is not None and have > wanted,
            "$lte": lambda wanted: have is not None and have <= wanted,
            "$ne": lambda wanted: have != wanted,
        }
        return all(compare[name](wanted) for name, wanted in value.items())

    return all(entry(key, value) for key, value in given.items())


@given(given=langchain_filters)
def test_any_combination_means_what_it_means_in_python(store, given):
    assert found_by(store, given) == [place for place, metadata in enumerate(METADATA) if matches(metadata, given)]


def test_a_filter_stays_as_it_was_and_a_filter_of_haystack_is_taken_as_it_is():
    haystack = {"field": YEAR, "operator": "==", "value": 1}
    assert to_filter(haystack) is haystack
    given = {"year": {"$in": (1, 2)}, "$not": {"town": "Lyon"}}
    to_filter(given)
    assert given == {"year": {"$in": (1, 2)}, "$not": {"town": "Lyon"}}


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_ten_among_thousands_match_and_five_asked_for_are_the_right_five(kind):
    embedding = DeterministicFakeEmbedding(size=8)
    texts = [f"texte {n}" for n in range(2000)]
    rare = [{"rare": n % 200 == 0, "number": n} for n in range(2000)]
    store = FaissVectorStore.from_texts(texts, embedding, rare, kind=kind)
    vectors = np.array(embedding.embed_documents([texts[n] for n in range(0, 2000, 200)]))
    cosines = vectors @ np.array(embedding.embed_query("?")) / np.linalg.norm(vectors, axis=1)
    expected = [200 * int(place) for place in np.argsort(-cosines)[:5]]
    found = store.similarity_search("?", k=5, filter={"rare": True})
    assert [document.metadata["number"] for document in found] == expected
    store.close()
