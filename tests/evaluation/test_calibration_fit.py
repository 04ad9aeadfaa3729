"""The fit finds what made the judgements, and its figures are of pairs that it did not see."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin import SettingsError, fit_calibration
from fr_reranker_plugin.collections import Collection, Passage
from fr_reranker_plugin.evaluation.calibration_fit import brier_score, expected_calibration_error
from fr_reranker_plugin.evaluation.judged_pairs import JudgedPair, judged_pairs
from fr_reranker_plugin.scoring.ranking import BLANK_LOGIT, sigmoid

judged = st.lists(st.tuples(st.floats(min_value=0, max_value=1), st.integers(min_value=0, max_value=1)), min_size=1)


def simulated(temperature, bias, *, pairs=20_000, seed=0):
    """Logits of pairs, whether they are relevant by the chance `sigmoid(logit / temperature + bias)`, and queries."""
    chance = np.random.default_rng(seed)
    logits = chance.normal(-1.0, 3.0, pairs)
    relevant = chance.random(pairs) < 1 / (1 + np.exp(-(logits / temperature + bias)))
    return logits.tolist(), relevant.astype(int).tolist(), [f"q{place // 20}" for place in range(pairs)]


@pytest.mark.parametrize(("temperature", "bias"), [(1.0, 0.0), (2.5, -0.8), (0.4, 1.5), (6.0, -3.0)])
def test_the_fit_finds_the_temperature_and_bias_that_made_the_judgements(temperature, bias):
    logits, relevant, _ = simulated(temperature, bias)
    found = fit_calibration(logits, relevant)
    assert found.temperature == pytest.approx(temperature, rel=0.1)
    assert found.bias == pytest.approx(bias, abs=0.15)
    assert found.report is None


def test_no_neighbour_of_the_answer_makes_the_judgements_more_likely():
    logits, relevant, _ = simulated(2.5, -0.8, pairs=400)
    positives = sum(relevant)
    targets = [(positives + 1) / (positives + 2) if label else 1 / (402 - positives) for label in relevant]
    found = fit_calibration(logits, relevant)

    def unlikeliness(slope, offset):
        lines = [slope * logit + offset for logit in logits]
        return math.fsum(np.logaddexp(0, z) - target * z for z, target in zip(lines, targets, strict=True))

    best = unlikeliness(1 / found.temperature, found.bias)
    for way in range(16):
        across, up = 1e-3 * math.cos(way * math.pi / 8), 1e-3 * math.sin(way * math.pi / 8)
        assert unlikeliness(1 / found.temperature + across, found.bias + up) > best


def test_errors_on_pairs_that_the_fit_did_not_see_go_down():
    logits, relevant, queries = simulated(3.0, -1.0, pairs=4000)
    report = fit_calibration(logits, relevant, queries=queries).report
    assert report.ece_after < 0.03
    assert report.ece_before > 0.1
    assert report.brier_after < report.brier_before
    assert (report.pairs, report.relevant, report.queries, report.folds) == (4000, sum(relevant), 200, 5)


def test_no_pair_is_measured_by_a_fit_on_its_own_query():
    logits, relevant, queries = simulated(1.0, 0.0, pairs=400)
    first = fit_calibration(logits, relevant, queries=queries, folds=2).report
    distinct = sorted(set(queries))
    fits = {
        query: fit_calibration(
            [logit for logit, own in zip(logits, queries, strict=True) if own != query],
            [label for label, own in zip(relevant, queries, strict=True) if own != query],
        )
        for query in distinct
    }
    one_by_one = fit_calibration(logits, relevant, queries=queries, folds=len(distinct)).report
    held_out = [fits[query].probability(logit) for logit, query in zip(logits, queries, strict=True)]
    assert one_by_one.brier_after == pytest.approx(brier_score(held_out, relevant), abs=1e-12)
    assert one_by_one.ece_after == pytest.approx(expected_calibration_error(held_out, relevant), abs=1e-12)
    assert first.brier_after != one_by_one.brier_after


def test_the_report_depends_on_the_seed_and_on_nothing_else():
    logits, relevant, queries = simulated(2.0, 0.5, pairs=600)
    first = fit_calibration(logits, relevant, queries=queries, seed=3)
    assert fit_calibration(logits, relevant, queries=queries, seed=3) == first
    other = fit_calibration(logits, relevant, queries=queries, seed=4)
    assert (other.temperature, other.bias) == (first.temperature, first.bias)
    assert other.report.brier_after != first.report.brier_after


def test_judgements_that_logits_separate_without_error_have_a_finite_answer():
    found = fit_calibration([-4.0, -3.0, -2.0, 5.0, 6.0, 7.0], [0, 0, 0, 1, 1, 1])
    assert 0.1 < found.temperature < 10
    assert 0.7 < found.probability(6.0) < 1 - 1 / 10  # about the target 4/5
    assert 0.1 < found.probability(-3.0) < 0.3


@given(
    st.lists(st.tuples(st.floats(min_value=-20, max_value=20), st.booleans()), min_size=4, max_size=30),
    st.floats(min_value=0.1, max_value=5),
)
def test_an_answer_is_usable_or_refused_whatever_the_pairs(pairs, width):
    logits, relevant = [width * logit for logit, _ in pairs], [label for _, label in pairs]
    try:
        found = fit_calibration(logits, relevant)
    except SettingsError:
        return
    assert 0 < found.temperature < math.inf
    assert all(0 <= score <= 1 for score in found.probabilities(logits))


def test_the_logits_scale_and_place_does_not_change_the_probabilities():
    logits, relevant, _ = simulated(2.0, 0.5, pairs=300)
    moved = [1000 * logit + 70_000 for logit in logits]
    expected = fit_calibration(logits, relevant).probabilities(logits)
    assert fit_calibration(moved, relevant).probabilities(moved) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("logits", "relevant", "more", "said"),
    [
        ([], [], {}, "expected judged pairs, got none"),
        ([1.0, 2.0], [1, 1], {}, "expected relevant pairs and others, got 2 relevant ones of 2"),
        ([1.0, 2.0], [0, 0], {}, "got 0 relevant ones of 2"),
        ([1.0, 2.0, 3.0], [0, 1], {}, "expected a logit for each of 2 judgements"),
        ([1.0, math.nan], [0, 1], {}, "logit 1 must be a finite number"),
        ([BLANK_LOGIT, 1.0], [0, 1], {}, "logit 0 must be a finite number of a passage with text"),
        ([1.0, 2.0], [0, 2], {}, r"judgement 1 must be 1 \(relevant\) or 0, got 2"),
        ([1.0, 2.0], [0, "1"], {}, "judgement 1 must be 1"),
        ([0.1, 0.1, 0.1], [0, 1, 0], {}, "all logits are 0.1"),
        ([0.0, 5e-324, 0.0], [0, 1, 0], {}, "pairs that score alike"),
        ([-2.0, -1.0, 1.0, 2.0], [1, 1, 0, 0], {}, "relevant pairs do not have higher logits"),
        ([1.0, 2.0], [0, 1], {"queries": ["a"]}, "expected a query for each pair, got 1 for 2 pairs"),
        ([1.0, 2.0], [0, 1], {"queries": ["a", "b"]}, "5 folds need as many queries, got 2"),
        ([1.0, 2.0], [0, 1], {"queries": ["a", "b"], "folds": 1}, "folds must be >= 2"),
        ([1.0, 2.0], [0, 1], {"queries": ["a", "b"], "folds": 2, "seed": -1}, "seed must be >= 0"),
        ([1.0, 2.0], [0, 1], {"queries": ["a", "b"], "folds": 2}, "without the queries of one fold"),
    ],
)  # fmt: skip
def test_what_nothing_can_be_fitted_to_is_refused_with_the_reason(logits, relevant, more, said):
    with pytest.raises(SettingsError, match=said):
        fit_calibration(logits, relevant, **more)


def test_the_calibration_error_and_the_brier_score_equal_hand_computation():
    probabilities, relevant = [0.1, 0.2, 0.6, 0.9], [0, 1, 1, 1]
    # two bins of two: means 0.15 and 0.75, shares 1/2 and 1
    assert expected_calibration_error(probabilities, relevant, bins=2) == pytest.approx((0.35 + 0.25) / 2)
    # one pair a bin, as there are fewer pairs than bins
    assert expected_calibration_error(probabilities, relevant) == pytest.approx((0.1 + 0.8 + 0.4 + 0.1) / 4)
    assert expected_calibration_error(probabilities, relevant, bins=1) == pytest.approx(abs(0.45 - 0.75))
    assert brier_score(probabilities, relevant) == pytest.approx((0.01 + 0.64 + 0.16 + 0.01) / 4)


def test_probabilities_that_are_always_right_have_no_error_and_always_wrong_ones_all_of_it():
    assert expected_calibration_error([0.0, 1.0, 1.0], [0, 1, 1]) == brier_score([0.0, 1.0, 1.0], [0, 1, 1]) == 0.0
    assert expected_calibration_error([1.0, 0.0], [0, 1]) == brier_score([1.0, 0.0], [0, 1]) == 1.0


def test_equal_probabilities_share_a_bin():
    assert expected_calibration_error([0.5] * 10, [0, 1] * 5) == 0.0
    assert expected_calibration_error([0.5] * 10, [0] * 5 + [1] * 5) == 0.0


@given(judged, st.randoms())
def test_neither_error_depends_on_the_order_of_the_pairs(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    for error in (expected_calibration_error, brier_score):
        value = error(*zip(*pairs, strict=True))
        assert 0 <= value <= 1
        assert error(*zip(*shuffled, strict=True)) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("probabilities", [[-0.1, 0.5], [0.5, 1.5], [math.nan, 0.5]])
def test_what_is_no_probability_is_refused(probabilities):
    for error in (expected_calibration_error, brier_score):
        with pytest.raises(SettingsError, match="from 0 to 1"):
            error(probabilities, [0, 1])


CORPUS = {
    "a": Passage("Naissance", "La naissance se déclare à la mairie."),
    "b": Passage("", "La mairie ouvre à neuf heures."),
    "c": Passage("", "Le parc ferme le soir."),
    "blank": Passage("", "  "),
}


def test_pairs_are_the_judged_passages_and_those_that_bm25_finds():
    collection = Collection(CORPUS, {"q": "naissance à la mairie"}, {"q": {"c": 0, "a": 2, "blank": 1}})
    pairs = judged_pairs(collection, candidates=2)
    assert pairs == [
        JudgedPair("naissance à la mairie", "Le parc ferme le soir.", relevant=False),
        JudgedPair("naissance à la mairie", "Naissance\nLa naissance se déclare à la mairie.", relevant=True),
        JudgedPair("naissance à la mairie", "La mairie ouvre à neuf heures.", relevant=False),
    ]
    assert judged_pairs(collection, candidates=0) == pairs[:2]


def test_grades_below_the_lowest_relevant_one_are_not_relevant():
    collection = Collection(CORPUS, {"q": "naissance"}, {"q": {"a": 2, "b": 1}})
    assert [pair.relevant for pair in judged_pairs(collection, candidates=0, relevant_from=2)] == [True, False]


@pytest.mark.parametrize("numbers", [{"candidates": -1}, {"relevant_from": 0}, {"candidates": 1.5}])
def test_a_number_that_is_not_allowed_is_refused(numbers):
    with pytest.raises(SettingsError, match="candidates|relevant_from"):
        judged_pairs(Collection({}, {}, {}), **numbers)


def test_a_fitted_calibration_beats_the_plain_sigmoid_on_new_pairs():
    logits, relevant, _ = simulated(3.0, -1.0, pairs=3000, seed=1)
    new_logits, new_relevant, _ = simulated(3.0, -1.0, pairs=3000, seed=2)
    calibrated = fit_calibration(logits, relevant).probabilities(new_logits)
    plain = [sigmoid(logit) for logit in new_logits]
    assert expected_calibration_error(calibrated, new_relevant) < expected_calibration_error(plain, new_relevant) / 3
    assert brier_score(calibrated, new_relevant) < brier_score(plain, new_relevant)
