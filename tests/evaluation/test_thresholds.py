"""What a threshold keeps, counted again by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin import SettingsError
from fr_reranker_plugin.evaluation.markdown import _at_most
from fr_reranker_plugin.evaluation.report import _threshold
from fr_reranker_plugin.evaluation.thresholds import Threshold, suggested, threshold_curve
from fr_reranker_plugin.scoring.ranking import sigmoid

PAIRS = st.lists(st.tuples(st.sampled_from([-3.0, -1.0, 0.0, 0.5, 4.0]), st.booleans()), min_size=1, max_size=60)


@given(PAIRS, st.integers(0, 5))
def test_every_threshold_keeps_what_it_says(pairs: list[tuple[float, bool]], missed: int) -> None:
    logits, relevant = [logit for logit, _ in pairs], [good for _, good in pairs]
    if not any(relevant):
        with pytest.raises(SettingsError, match="at least one is relevant"):
            threshold_curve(logits, relevant, missed=missed)
        return
    curve = threshold_curve(logits, relevant, missed=missed)
    assert [one.score for one in curve] == sorted({sigmoid(logit) for logit in logits})
    for one in curve:
        kept = [good for logit, good in pairs if sigmoid(logit) >= one.score]
        assert one.kept == len(kept)
        assert one.precision == pytest.approx(sum(kept) / len(kept))
        assert one.recall == pytest.approx(sum(kept) / (sum(relevant) + missed))
    assert suggested(curve).f1 == max(one.f1 for one in curve)


def test_a_long_curve_has_99_points_from_end_to_end() -> None:
    logits = [at / 100 for at in range(1000)]
    curve = threshold_curve(logits, [at >= 500 for at in range(1000)])
    assert len(curve) == 99
    assert (curve[0].score, curve[-1].score) == (sigmoid(0.0), sigmoid(9.99))
    assert suggested(curve).score == pytest.approx(sigmoid(5.0), abs=2e-3)


@pytest.mark.parametrize("logit", [-30.0, -2.0, 0.1234567, 2.0, 6.3, 12.5, 20.0, 40.0])
def test_a_threshold_that_is_read_off_the_report_keeps_what_it_says(logit: float) -> None:
    score = sigmoid(logit)
    assert _threshold(Threshold(score, kept=7, precision=1 / 3, recall=1.0, f1=0.5))["score"] == score
    assert score * (1 - 1e-8) <= float(_at_most(score)) <= score
