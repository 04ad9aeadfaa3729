"""Intervals and comparisons of systems."""

import numpy as np
import pytest

from fr_reranker_plugin.evaluation.statistics import mean_with_interval, paired_difference


def test_nineteen_of_twenty_intervals_hold_the_true_mean() -> None:
    draw = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        mean = mean_with_interval(list(draw.exponential(size=60)), seed=seed)
        held += mean.low <= 1.0 <= mean.high
    assert 0.88 <= held / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval() -> None:
    values = list(np.random.default_rng(1).random(50))
    assert mean_with_interval(values, seed=3) == mean_with_interval(values, seed=3)
    assert mean_with_interval(values, seed=3) != mean_with_interval(values, seed=4)


def test_equal_values_have_no_spread() -> None:
    assert mean_with_interval([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)
    assert paired_difference([0.5, 0.1], [0.5, 0.1]) == (0.0, 0.0, 0.0, 1.0)


def test_systems_are_compared_query_by_query() -> None:
    before = list(np.random.default_rng(2).random(100))
    after = [one + 0.01 + 0.001 * (at % 3) for at, one in enumerate(before)]
    found = paired_difference(after, before)
    assert found.low > 0.009
    assert found.p < 1e-6
    shuffled = paired_difference(list(np.random.default_rng(3).permutation(before)), before)
    assert shuffled.low < 0 < shuffled.high
    assert shuffled.p > 0.9


def test_systems_must_have_answered_the_same_queries() -> None:
    with pytest.raises(ValueError, match="longer"):
        paired_difference([0.1], [0.1, 0.2])
    with pytest.raises(ValueError, match="there are no values"):
        mean_with_interval([])
