"""Every published figure can be traced, and none can be mistaken for another."""

from collections import Counter
from datetime import date

import pytest

from fr_reranker_plugin.evaluation.published import all_figures, published_figures
from fr_reranker_plugin.scoring.settings import REFERENCE_MODEL

FIGURES = all_figures()


def test_every_figure_has_a_model_a_value_in_percent_and_an_address_where_it_was_read() -> None:
    assert len(FIGURES) > 100
    for figure in FIGURES:
        assert figure.model.count("/") == 1, figure
        assert 0 < figure.value < 100, figure
        assert figure.source.startswith("https://"), figure
        assert figure.description, figure
        assert date.fromisoformat(figure.read_on) >= date(2026, 11, 1), figure


def test_no_figure_stands_twice() -> None:
    counted = Counter((figure.model, figure.protocol, figure.measure) for figure in FIGURES)
    assert counted.most_common(1)[0][1] == 1


def test_measures_are_those_of_ir_measures() -> None:
    ir_measures = pytest.importorskip("ir_measures", reason="the extra 'evaluate' is not installed")
    for measure in {figure.measure for figure in FIGURES}:
        assert str(ir_measures.parse_measure(measure)) == measure


def test_more_passages_never_find_less() -> None:
    """A typing error in a figure would most likely break this."""
    for model, protocol in {(figure.model, figure.protocol) for figure in FIGURES}:
        for kind in ("RR", "R"):
            by_depth = sorted(
                (int(figure.measure.partition("@")[2]), figure.value)
                for figure in FIGURES
                if (figure.model, figure.protocol, figure.measure.partition("@")[0]) == (model, protocol, kind)
            )
            values = [value for _, value in by_depth]
            assert values == sorted(values), (model, protocol, kind)


def test_the_models_of_a_protocol_come_best_first() -> None:
    for protocol in ("pool", "full-corpus"):
        values = [one.value for one in FIGURES if (one.protocol, one.measure) == (protocol, "RR@10")]
        if protocol == "pool":
            assert len(values) == 12
        assert values == sorted(values, reverse=True)


def test_the_reference_model_has_the_figures_of_its_card() -> None:
    found = {figure.measure: figure for figure in published_figures(REFERENCE_MODEL)}
    assert {name: round(found[name].value, 2) for name in ("RR@10", "R@10", "R@100", "R@500")} == {
        "RR@10": 34.26, "R@10": 60.88, "R@100": 85.73, "R@500": 96.32,
    }  # fmt: skip
    assert {figure.protocol for figure in found.values()} == {"pool"}
    assert "pool of 1,000" in found["RR@10"].description


def test_figures_of_the_older_test_say_that_they_cannot_be_compared() -> None:
    figures = published_figures("antoinelouis/crossencoder-camembert-base-mmarcoFR")
    rr = {figure.protocol: figure for figure in figures if figure.measure == "RR@10"}
    assert (rr["pool"].value, rr["pool"].comparable) == (33.40, True)
    assert (rr["train-queries"].value, rr["train-queries"].comparable) == (50.44, False)
    assert {figure.protocol for figure in FIGURES if not figure.comparable} == {"train-queries"}


def test_nothing_is_known_of_other_models() -> None:
    assert published_figures("embedded") == []
