"""What a threshold keeps, counted again by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin import SettingsError
from fr_reranker_plugin.evaluation.thresholds import suggested, threshold_curve
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
