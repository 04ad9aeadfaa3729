"""Measures of rankings, by ir-measures: trec_eval's own code for all but reciprocal rank, which is MS MARCO's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fr_reranker_plugin.errors import MissingDependencyError, SettingsError

DEFAULT_MEASURES: Final = ("nDCG@10", "RR@10", "R@10", "R@20", "R@50", "R@100", "Rprec", "AP", "Success@10")
"""What is measured unless other measures are asked for; the names are those of https://ir-measur.es."""

CARD_MEASURES: Final = ("RR@10", "RR@5", "RR@20", "RR@50", "RR@100", "RR@500", "R@5", "R@10", "R@20", "R@50", "R@100",
                        "R@500", "Rprec", "nDCG@10")  # fmt: skip
"""What the cards of the French cross-encoders report of their pools of 1,000 passages."""

Rankings = Mapping[str, Sequence[str]]
"""The ids of passages, best first, by query."""

Values = dict[str, dict[str, float]]
"""A value in 0..1 by measure and query."""


def check_measures(names: Sequence[str], *, relevant_from: int = 1) -> list[str]:
    """Give the full names of measures, those that need relevance yes or no with the grade where it begins.

    :param relevant_from: The lowest grade that counts as relevant, for measures without a `rel` of their own; measures
        of graded relevance (nDCG) use the grades as they are.
    :raises SettingsError: If there is no such measure, or it cannot be computed here.
    :raises MissingDependencyError: If ir-measures is not installed.
    """
    measures = _parsed(names, relevant_from)
    for measure in measures:
        _try(measure)
    return [str(measure) for measure in measures]


def measure_rankings(rankings: Rankings, qrels: Mapping[str, Mapping[str, int]], names: Sequence[str]) -> Values:
    """Measure the ranking of every judged query.

    A query whose ranking is missing or empty counts as 0, a passage that stands there twice at its better place, and
    one without a judgement as not relevant. Nothing is left to the tie-breaking of the tools: the order is the one
    given.

    :param qrels: The grades of passages, by query; only these queries are measured.
    :raises SettingsError: If there is no such measure.
    """
    measures = _parsed(names, 1)
    run = {query: _as_scores(ranking) for query in qrels if (ranking := rankings.get(query))}
    values: Values = {str(measure): dict.fromkeys(qrels, 0.0) for measure in measures}
    if run:
        import ir_measures

        judged = {query: dict(qrels[query]) for query in run}
        for metric in ir_measures.iter_calc(measures, judged, run):
            if metric.query_id in qrels:
                values[str(metric.measure)][metric.query_id] = float(metric.value)
    return values


def _as_scores(ranking: Sequence[str]) -> dict[str, float]:
    return {passage: -float(place) for place, passage in enumerate(dict.fromkeys(ranking))}


def _try(measure: Any) -> None:  # noqa: ANN401 -- ir-measures has no types
    """Measure an invented ranking: what a measure lacks shows only then, and scoring may take days."""
    import ir_measures

    expected = f"expected names like {', '.join(DEFAULT_MEASURES)}"
    if measure.params.get("cutoff", 1) < 1:  # trec_eval's code ends the process
        raise SettingsError(f"the measure {str(measure)!r} must look at 1 place or more; {expected}")
    try:
        list(ir_measures.iter_calc([measure], {"q": {"a": 1}}, {"q": {"a": 1.0}}))
    except Exception as error:
        raise SettingsError(
            f"the measure {str(measure)!r} cannot be computed ({type(error).__name__}: {error}); {expected}"
        ) from error


def _parsed(names: Sequence[str], relevant_from: int) -> list[Any]:
    try:
        import ir_measures
    except ImportError as error:
        raise MissingDependencyError("measures need ir-measures: pip install 'fr-reranker-plugin[evaluate]'") from error
    parsed = []
    for name in names:
        try:
            measure = ir_measures.parse_measure(name)
        except (NameError, ValueError, SyntaxError, TypeError) as error:
            raise SettingsError(
                f"there is no measure {name!r} ({error}); expected names like {', '.join(DEFAULT_MEASURES)}"
            ) from None
        if relevant_from != 1 and "rel" in measure.SUPPORTED_PARAMS and "rel" not in measure.params:
            measure = measure(rel=relevant_from)
        parsed.append(measure)
    return parsed
