"""What two loaders differ by, against cases computed by hand and scipy."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin.evaluation.agreement import agreement, by_question, inversions, kendall_tau
from fr_reranker_plugin.scoring.ranking import sigmoid

PAIRS = [("q1", "a"), ("q1", "b"), ("q2", "c"), ("q2", "d")]
LOGITS = st.lists(st.floats(-20, 20), min_size=2, max_size=12)


def test_logits_are_compared_pair_by_pair_and_rankings_question_by_question() -> None:
    found = agreement([0.0, 1.0, 5.0, 6.0], [0.0, 1.5, 6.0, 5.0], by_question(PAIRS))
    assert (found.max, found.mean, found.pairs) == (1.0, pytest.approx(0.625), 4)
    assert found.score_max == pytest.approx(sigmoid(1.5) - sigmoid(1.0))
    assert found.kendall_tau == 0.0  # one question in order, one reversed
    assert found.inversions == 0  # the reversed two are 0.0042 apart


def test_questions_with_one_passage_have_no_ranking() -> None:
    found = agreement([1.0, 2.0], [1.0, 3.0], [["one"], ["other"]])
    assert (found.kendall_tau, found.inversions) == (None, 0)


def test_kendall_tau_counts_pairs_in_order_against_pairs_out_of_order() -> None:
    assert kendall_tau([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert kendall_tau([1, 2], [5, 5]) == 0.0


def test_an_inversion_is_a_clear_difference_turned_round_or_lost() -> None:
    assert inversions([0.0, 0.1], [0.2, 0.1]) == 1  # sigmoids 0.025 apart
    assert inversions([0.0, 0.1], [0.1, 0.1]) == 1
    assert inversions([0.0, 0.07], [0.2, 0.1]) == 0  # 0.017 apart
    assert inversions([8.0, 9.0], [9.0, 8.0]) == 0  # both nearly 1
    assert inversions([3.0, 0.0, -3.0], [-3.0, 0.0, 3.0]) == 3


@given(LOGITS)
def test_a_list_agrees_with_itself(logits: list[float]) -> None:
    found = agreement(logits, logits, [logits])
    assert (found.max, found.score_max, found.inversions) == (0.0, 0.0, 0)


@given(st.lists(st.tuples(st.integers(-1000, 1000), st.integers(-1000, 1000)), min_size=2, max_size=12))
def test_kendall_tau_is_symmetric_and_turns_its_sign_with_a_list(both: list[tuple[int, int]]) -> None:
    first, second = zip(*both, strict=True)
    tau = kendall_tau(first, second)
    assert -1 <= tau <= 1
    assert tau == pytest.approx(kendall_tau(second, first))
    assert tau == pytest.approx(-kendall_tau(first, [-value for value in second]))


def test_kendall_tau_is_that_of_scipy_without_ties() -> None:
    stats = pytest.importorskip("scipy.stats")
    random = Random(3)
    for _ in range(20):
        order = random.sample(range(8), 8)
        assert kendall_tau(range(8), order) == pytest.approx(stats.kendalltau(range(8), order).statistic)
