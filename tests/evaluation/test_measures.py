"""Measures are those of the literature, of trec_eval and of hand computation, whatever the rankings are like."""

import math
import random

import pytest
import pytrec_eval

from fr_reranker_plugin import SettingsError
from fr_reranker_plugin.evaluation.measures import CARD_MEASURES, DEFAULT_MEASURES, check_measures, measure_rankings

TREC_NAMES = {"nDCG@10": "ndcg_cut_10", "R@5": "recall_5", "R@100": "recall_100", "Rprec": "Rprec", "AP": "map",
              "Success@10": "success_10", "P@5": "P_5"}  # fmt: skip


def value(measure: str, ranking: list[str], grades: dict[str, int]) -> float:
    return measure_rankings({"q": ranking}, {"q": grades}, [measure])[measure]["q"]


@pytest.mark.parametrize(
    ("measure", "ranking", "grades", "expected"),
    [
        ("RR@10", ["x", "a"], {"a": 1}, 1 / 2),
        ("RR@10", ["x"] * 1 + [f"y{n}" for n in range(9)] + ["a"], {"a": 1}, 0.0),
        ("RR@500", [f"y{n}" for n in range(499)] + ["a"], {"a": 1}, 1 / 500),
        ("RR@10", ["x", "b", "a"], {"a": 3, "b": 0, "x": 0}, 1 / 3),
        ("R@10", ["a", "x"], {"a": 1, "b": 1}, 1 / 2),
        ("nDCG@10", ["b", "a"], {"a": 2, "b": 1}, (1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3))),
        ("nDCG@10", ["a", "b"], {"a": 2, "b": 1}, 1.0),
        ("Rprec", ["a", "x", "b"], {"a": 1, "b": 1}, 1 / 2),
        ("AP", ["a", "x", "b"], {"a": 1, "b": 1}, (1 + 2 / 3) / 2),
        ("AP", ["a"], {"a": 1, "b": 1}, 1 / 2),
        ("Success@10", ["x", "a"], {"a": 1}, 1.0),
        ("RR(rel=2)@10", ["a", "b"], {"a": 1, "b": 2}, 1 / 2),
        ("RR@10", ["x", "x", "a"], {"a": 1}, 1 / 2),
        ("nDCG@10", [], {"a": 1}, 0.0),
        ("RR@10", ["x"], {"x": 0}, 0.0),
    ],
)
def test_hand_made_rankings_have_the_values_of_hand_computation(
    measure: str, ranking: list[str], grades: dict[str, int], expected: float
) -> None:
    assert value(measure, ranking, grades) == pytest.approx(expected, abs=1e-6)


def test_a_query_without_a_ranking_counts_as_nothing_found() -> None:
    found = measure_rankings({"q1": ["a"], "unjudged": ["a"]}, {"q1": {"a": 1}, "q2": {"a": 1}}, ["RR@10", "AP"])
    assert found == {"RR@10": {"q1": 1.0, "q2": 0.0}, "AP": {"q1": 1.0, "q2": 0.0}}
    assert measure_rankings({}, {"q": {"a": 1}}, ["AP"]) == {"AP": {"q": 0.0}}


def test_a_thousand_random_runs_measure_as_with_trec_eval() -> None:
    """Graded judgements, duplicates, missing queries, empty rankings and passages that nobody judged."""
    draw = random.Random(0)
    passages = [f"p{n}" for n in range(40)]
    for _ in range(1000):
        qrels = {f"q{n}": {one: draw.randint(0, 3) for one in draw.sample(passages, draw.randint(1, 12))}
                 for n in range(3)}  # fmt: skip
        rankings = {
            query: draw.choices(passages, k=draw.choice([0, 1, 5, 30])) for query in draw.sample(sorted(qrels), 2)
        }
        ours = measure_rankings(rankings, qrels, [*TREC_NAMES, "RR"])
        distinct = {query: list(dict.fromkeys(ranking)) for query, ranking in rankings.items()}
        run = {
            query: {one: float(-place) for place, one in enumerate(some)} for query, some in distinct.items() if some
        }
        theirs = pytrec_eval.RelevanceEvaluator(qrels, {*TREC_NAMES.values(), "recip_rank"}).evaluate(run)
        for query in qrels:
            for name, trec_name in {**TREC_NAMES, "RR": "recip_rank"}.items():
                assert ours[name][query] == pytest.approx(theirs.get(query, {}).get(trec_name, 0.0), abs=1e-9)


def test_the_grade_where_relevance_begins_does_not_touch_graded_measures() -> None:
    assert check_measures(["nDCG@10", "RR@10", "R(rel=1)@10"], relevant_from=2) == ["nDCG@10", "RR(rel=2)@10", "R@10"]
    assert check_measures(DEFAULT_MEASURES) == list(DEFAULT_MEASURES)
    assert check_measures(CARD_MEASURES) == list(CARD_MEASURES)


@pytest.mark.parametrize("name", ["Treffer", "nDCG@", "R@zehn", "", "__import__('os')"])
def test_an_unknown_measure_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="there is no measure"):
        check_measures([name])


@pytest.mark.parametrize(("name", "reason"), [("R", "cannot be computed"), ("nDCG@0", "1 place or more")])
def test_a_measure_that_lacks_something_is_refused_before_the_work(name: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        check_measures(["RR@10", name])
