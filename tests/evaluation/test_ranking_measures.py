"""The two measures, against cases computed by hand and trec_eval."""

from math import log2

import pytest

from fr_reranker_plugin.evaluation.ranking_measures import ndcg, reciprocal_rank

GRADES = {"best": 2, "good": 1, "bad": 0}


def test_the_best_order_has_an_ndcg_of_one() -> None:
    assert ndcg(["best", "good", "bad", "other"], GRADES, at=10) == 1.0


def test_ndcg_discounts_a_grade_by_the_logarithm_of_its_rank() -> None:
    best = 2 + 1 / log2(3)
    assert ndcg(["bad", "best", "good"], GRADES, at=10) == pytest.approx((2 / log2(3) + 1 / log2(4)) / best)
    assert ndcg(["good", "best"], GRADES, at=10) == pytest.approx((1 + 2 / log2(3)) / best)


def test_ndcg_sees_the_first_passages_only_but_knows_all_judgements() -> None:
    assert ndcg(["bad", "best"], GRADES, at=1) == 0.0
    assert ndcg(["good"], GRADES, at=1) == 0.5
    assert ndcg(["good"], GRADES, at=2) == pytest.approx(1 / (2 + 1 / log2(3)))


def test_a_question_without_a_relevant_passage_counts_as_zero() -> None:
    assert ndcg(["bad"], {"bad": 0}, at=10) == 0.0
    assert reciprocal_rank(["bad"], {"bad": 0}, at=10) == 0.0


def test_the_reciprocal_rank_is_that_of_the_first_relevant_passage() -> None:
    assert reciprocal_rank(["good", "best"], GRADES, at=10) == 1.0
    assert reciprocal_rank(["bad", "other", "best"], GRADES, at=10) == pytest.approx(1 / 3)
    assert reciprocal_rank(["bad", "other", "best"], GRADES, at=2) == 0.0
    assert reciprocal_rank([], GRADES, at=10) == 0.0


def test_they_are_the_measures_of_trec_eval() -> None:
    ir_measures = pytest.importorskip("ir_measures", reason="the extra 'evaluate' is not installed")
    ranking = ["bad", "good", "other", "best"]
    run = [ir_measures.ScoredDoc("q", name, -float(at)) for at, name in enumerate(ranking)]
    qrels = [ir_measures.Qrel("q", name, grade) for name, grade in GRADES.items()]
    found = ir_measures.calc_aggregate([ir_measures.nDCG @ 10, ir_measures.RR @ 10], qrels, run)
    assert found[ir_measures.nDCG @ 10] == pytest.approx(ndcg(ranking, GRADES, at=10))
    assert found[ir_measures.RR @ 10] == pytest.approx(reciprocal_rank(ranking, GRADES, at=10))
