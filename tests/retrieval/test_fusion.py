"""Reciprocal rank fusion: the formula of its authors, whatever the rankings."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin import SettingsError, reciprocal_rank_fusion

RANKINGS = st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8), max_size=4)


@given(RANKINGS, st.integers(0, 100))
def test_scores_are_sums_of_reciprocal_ranks_best_first(rankings, k):
    merged = reciprocal_rank_fusion(rankings, k=k)
    for document, score in merged:
        shares = [1 / (k + ranking.index(document) + 1) for ranking in rankings if document in ranking]
        assert score == pytest.approx(math.fsum(shares))
    assert {document for document, _ in merged} == {document for ranking in rankings for document in ranking}
    assert [score for _, score in merged] == sorted((score for _, score in merged), reverse=True)


@given(st.lists(st.sampled_from("abcdefgh"), unique=True))
def test_one_ranking_keeps_its_order_and_two_alike_as_well(ranking):
    assert [document for document, _ in reciprocal_rank_fusion([ranking])] == ranking
    assert [document for document, _ in reciprocal_rank_fusion([ranking, ranking])] == ranking


def test_what_both_find_comes_before_what_one_finds_first():
    assert reciprocal_rank_fusion([["a", "b"], ["c", "b"]])[0][0] == "b"


def test_a_document_counts_once_in_each_ranking():
    assert dict(reciprocal_rank_fusion([["a", "a", "b"]])) == {"a": 1 / 61, "b": 1 / 63}


def test_weights_count_and_zero_leaves_a_ranking_out():
    assert dict(reciprocal_rank_fusion([["a"], ["b"]], weights=[2, 0])) == {"a": 2 / 61}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"k": -1}, "k must be >= 0"),
        ({"weights": [1]}, "expected a weight for each of 2 rankings, got 1"),
        ({"weights": [1, -1]}, "weight"),
        ({"weights": [1, math.nan]}, "weight"),
    ],
)
def test_wrong_arguments_are_refused(arguments, reason):
    with pytest.raises(SettingsError, match=reason):
        reciprocal_rank_fusion([["a"], ["b"]], **arguments)


def test_a_string_is_no_ranking():
    with pytest.raises(SettingsError, match="list of rankings"):
        reciprocal_rank_fusion(["ab"])
