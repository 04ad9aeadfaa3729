import math
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.ranking import (
    BLANK_LOGIT,
    TextForm,
    blended,
    make_pairs,
    rank_by_score,
    sigmoid,
)

finite = st.floats(min_value=-1e4, max_value=1e4)


@given(st.lists(finite))
def test_the_ranking_is_a_permutation_ordered_by_logit_with_ties_in_input_order(logits):
    ranked = rank_by_score(logits)
    assert sorted(r.index for r in ranked) == list(range(len(logits)))
    keys = [(-r.logit, r.index) for r in ranked]
    assert keys == sorted(keys)


@given(finite)
def test_a_scaled_score_is_the_sigmoid_of_the_logit_and_stays_between_0_and_1(logit):
    score = sigmoid(logit)
    assert 0.0 <= score <= 1.0
    if abs(logit) < 700:
        assert score == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-12)


def test_large_logits_keep_their_order_although_their_scores_round_to_the_same_value():
    ranked = rank_by_score([6.5, 40.0, 30.0, 45.0, 9.0])
    assert [r.index for r in ranked] == [3, 1, 2, 4, 0]
    assert ranked[0].score == ranked[1].score == 1.0


def test_raw_scores_are_the_logits_themselves():
    assert [(r.score, r.logit) for r in rank_by_score([-3.0, 7.5], scale_score=False)] == [(7.5, 7.5), (-3.0, -3.0)]


def test_the_threshold_keeps_equality_and_works_on_the_reported_scale():
    logits = [0.0, 2.0, -2.0]
    assert [r.index for r in rank_by_score(logits, score_threshold=0.5)] == [1, 0]
    assert [r.index for r in rank_by_score(logits, score_threshold=2.0, scale_score=False)] == [1]
    assert [r.index for r in rank_by_score(logits, score_threshold=float("-inf"))] == [1, 0, 2]


def test_the_threshold_is_applied_before_top_k():
    assert [r.index for r in rank_by_score([1.0, 3.0, 2.0], top_k=2, score_threshold=1.5, scale_score=False)] == [1, 2]


def test_top_k_larger_than_the_list_keeps_everything():
    assert len(rank_by_score([1.0, 2.0], top_k=10)) == 2


@given(st.lists(finite, max_size=30))
def test_without_weight_the_logits_stay_as_they_are(logits):
    assert list(blended(logits, 0.0)) == logits


@given(st.lists(finite, min_size=2, max_size=30), st.floats(0, 0.99))
def test_blended_logits_stay_on_the_scale_of_the_logits(logits, weight):
    found = blended(logits, weight)
    assert fmean(found) == pytest.approx(fmean(logits), abs=1e-6)
    assert pstdev(found) <= pstdev(logits) * (1 + 1e-9) + 1e-6


@given(st.lists(finite, min_size=2, max_size=30), st.floats(0.001, 100), finite, st.floats(0, 0.99))
def test_a_blended_ranking_does_not_depend_on_the_scale_of_the_logits(logits, stretch, shift, weight):
    moved = blended([shift + stretch * logit for logit in logits], weight)
    assert moved == pytest.approx([shift + stretch * one for one in blended(logits, weight)], rel=1e-6, abs=1e-6)


def test_the_order_of_the_first_stage_decides_as_much_as_it_weighs():
    logits = [0.0, 0.1, 3.0]
    assert [r.index for r in rank_by_score(logits)] == [2, 1, 0]
    assert [r.index for r in rank_by_score(logits, first_stage_weight=0.4)] == [2, 0, 1]
    assert [r.index for r in rank_by_score(logits, first_stage_weight=0.9)] == [0, 1, 2]


def test_two_passages_at_half_weight_by_hand():
    # ranks 1 and 2 are one standard deviation above and below their mean, as are the two logits: 2 ± 1
    assert list(blended([1.0, 3.0], 0.25)) == pytest.approx([0.75 * 1 + 0.25 * 3, 0.75 * 3 + 0.25 * 1])
    assert list(blended([1.0, 3.0], 0.5)) == pytest.approx([2.0, 2.0])


def test_passages_without_text_stay_last_and_count_for_nothing():
    assert blended([BLANK_LOGIT, 1.0, BLANK_LOGIT, 3.0], 0.5) == [BLANK_LOGIT, 2.0, BLANK_LOGIT, 2.0]
    assert blended([BLANK_LOGIT, 1.0], 0.5) == [BLANK_LOGIT, 1.0]


def test_equal_logits_leave_the_order_and_the_scores():
    assert [(r.index, r.score) for r in rank_by_score([0.0, 0.0], first_stage_weight=0.5)] == [(0, 0.5), (1, 0.5)]


def test_a_blended_score_is_on_the_reported_scale_and_the_logit_is_that_of_the_model():
    first, second = rank_by_score([0.0, 4.0, -4.0], first_stage_weight=0.25, score_threshold=0.5)
    assert (first.index, second.index) == (1, 0)
    assert first.logit == 4.0
    assert first.score == pytest.approx(sigmoid(blended([0.0, 4.0, -4.0], 0.25)[1]))


@pytest.mark.parametrize("weight", [1, -0.1, float("nan"), "0.5", True, None])
def test_a_weight_that_leaves_nothing_of_the_reranker_or_is_no_number_is_refused(weight):
    with pytest.raises(SettingsError, match="first_stage_weight must be a number from 0 to below 1"):
        rank_by_score([], first_stage_weight=weight)


@pytest.mark.parametrize("top_k", [0, -1, True, 2.0, "3"])
def test_a_top_k_that_is_not_a_positive_whole_number_is_refused_even_for_an_empty_list(top_k):
    with pytest.raises(SettingsError, match="top_k"):
        rank_by_score([], top_k=top_k)


@pytest.mark.parametrize("threshold", [float("nan"), "0.5", True])
def test_a_threshold_that_is_not_a_number_is_refused(threshold):
    with pytest.raises(SettingsError, match="score_threshold"):
        rank_by_score([1.0], score_threshold=threshold)


def test_the_text_form_joins_fields_and_content_and_wraps_them():
    form = TextForm(query_prefix="q: ", query_suffix=" ?", document_prefix="<", document_suffix=">", separator=" | ")
    assert form.query("quoi") == "q: quoi ?"
    assert form.passage(["titre", 0, False, None, ""], "corps") == "<titre | 0 | False |  | corps>"


@pytest.mark.parametrize("content", [None, "", "  \n "])
def test_a_document_with_nothing_to_read_has_no_text_whatever_its_prefix(content):
    assert TextForm(document_prefix="passage: ").passage([], content) is None
    assert TextForm().passage(["titre"], content) is not None


def test_pairs_keep_the_order_of_the_passages():
    assert make_pairs("q", ["b", "a"]) == [("q", "b"), ("q", "a")]


@pytest.mark.parametrize(
    ("start", "end", "part"), [(2, 4, "cd"), (-9, 1, "a"), (5, 9, "f"), (-9, 9, "abcdef"), (-9, -1, ""), (6, 9, "")]
)
def test_a_part_of_a_passage_is_found_in_the_content_it_was_made_of(start, end, part):
    form = TextForm(document_prefix="« Lu : ", document_suffix=" », fin.", separator=" — ")
    passage = form.passage(["Titre", 3], "abcdef")
    begin = passage.index("abcdef")
    first, last = form.part_of_content((begin + start, begin + end), passage, "abcdef")
    assert "abcdef"[first:last] == part
