"""Maximal marginal relevance against its definition, and against what LangChain computes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.vectorstores.utils import maximal_marginal_relevance as langchain_choice

from fr_reranker_plugin.retrieval.diversity import maximal_marginal_relevance
from unit_vectors import clustered_vectors, unit_vectors


def by_definition(query, candidates, k, relevance):
    """Weigh every candidate against every chosen one, in double precision."""
    query, candidates = query.astype(np.float64), candidates.astype(np.float64)
    chosen = [int(np.argmax(candidates @ query))]
    while len(chosen) < min(k, len(candidates)):
        left = [place for place in range(len(candidates)) if place not in chosen]
        weights = [
            relevance * candidates[place] @ query
            - (1 - relevance) * max(candidates[place] @ candidates[other] for other in chosen)
            for place in left
        ]
        chosen.append(left[int(np.argmax(weights))])
    return chosen


@given(
    count=st.integers(1, 30), k=st.integers(1, 12), relevance=st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_it_chooses_as_its_definition_says_and_as_langchain_does(count, k, relevance, seed):
    candidates = clustered_vectors(count, 16, clusters=3, seed=seed)
    (query,) = unit_vectors(1, 16, seed=seed + 1)
    chosen = maximal_marginal_relevance(query, candidates, k, relevance=relevance)
    assert chosen == by_definition(query, candidates, k, relevance)
    assert chosen == langchain_choice(query.astype(float), candidates.astype(float), lambda_mult=relevance, k=k)


def test_relevance_alone_gives_the_nearest_in_order():
    candidates, (query,) = unit_vectors(50, 8), unit_vectors(1, 8, seed=9)
    nearest = np.argsort(-(candidates @ query))[:10]
    assert maximal_marginal_relevance(query, candidates, 10, relevance=1.0) == nearest.tolist()


def test_copies_of_the_nearest_come_after_what_is_different():
    candidates = np.array([[1, 0], [1, 0], [0.6, 0.8]], dtype=np.float32)
    assert maximal_marginal_relevance(candidates[0], candidates, 3, relevance=0.4) == [0, 2, 1]


@pytest.mark.parametrize("k", [1, 3])
def test_no_candidates_give_no_choice(k):
    (query,) = unit_vectors(1, 8)
    assert maximal_marginal_relevance(query, np.empty((0, 8), np.float32), k, relevance=0.5) == []
