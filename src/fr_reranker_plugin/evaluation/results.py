"""What an evaluation measured: rows of values by query, from which every table, plot and report is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final, NamedTuple

from fr_reranker_plugin.evaluation.evaluation import Evaluation
from fr_reranker_plugin.evaluation.measures import Values, check_measures, measure_rankings
from fr_reranker_plugin.evaluation.statistics import Difference, Mean, mean_with_interval, paired_difference

_WORST: Final = 5
"""Queries made worse that are shown as examples."""


class Moved(NamedTuple):
    """Places, from 1, of a relevant passage before and after reranking."""

    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Row:
    """One ranking of all queries: of a first stage (`model` is `None`), or of a model over its first candidates.

    :param pool: How many candidates were reranked; `None` is all.
    :param weight: How much the order of the first stage counted; 0: the model alone.
    :param values: A value by measure and query.
    :param moved: How often a relevant passage was moved from one place to another.
    :param ceiling: The mean share of the relevant passages that are in the pool: no reranker can find more.
    """

    stage: str
    model: str | None
    pool: int | None
    values: Values
    ceiling: float | None = None
    moved: Counter[Moved] = field(default_factory=Counter)
    weight: float = 0.0

    def mean(self, measure: str, *, seed: int) -> Mean:
        """Give the mean of a measure over the queries, with its interval."""
        return mean_with_interval(list(self.values[measure].values()), seed=seed)

    def change_from(self, before: Row, measure: str, *, seed: int) -> Change:
        """Compare with another row, query by query."""
        mine, theirs = self.values[measure], before.values[measure]
        after, earlier = list(mine.values()), [theirs[query] for query in mine]
        return Change(
            paired_difference(after, earlier, seed=seed),
            better=sum(one > other for one, other in zip(after, earlier, strict=True)),
            worse=sum(one < other for one, other in zip(after, earlier, strict=True)),
            queries=len(after),
        )

    def worst_against(self, before: Row, measure: str) -> list[str]:
        """Give the queries that lost most, worst first; equal ones by their ids."""
        theirs = before.values[measure]
        lost = {query: theirs[query] - value for query, value in self.values[measure].items()}
        return [query for query in sorted(lost, key=lambda one: (-lost[one], one)) if lost[query] > 0][:_WORST]


class Change(NamedTuple):
    """What reranking changed: the mean difference, and how many queries it made better or worse."""

    difference: Difference
    better: int
    worse: int
    queries: int


def measure_all(evaluation: Evaluation, models: Mapping[str, str]) -> Iterator[Row]:
    """Yield the row of every first stage that ranks, and of every model over every pool of every first stage.

    Only one block of rankings is in memory at a time; what stays is a number by measure and query.

    :param models: What the logits of each model are kept under, by the name that rows give it.
    """
    for stage in evaluation.stages:
        if evaluation.is_ordered(stage):
            yield _measured(evaluation, Row(stage, None, None, _no_values(evaluation)), None)
        for model, key in models.items():
            for pool in evaluation.settings.pools:
                ceiling = _ceiling(evaluation, stage, pool)
                for weight in evaluation.settings.weights if evaluation.is_ordered(stage) else (0.0,):
                    row = Row(stage, model, pool, _no_values(evaluation), ceiling=ceiling, weight=weight)
                    yield _measured(evaluation, row, key)


def _measured(evaluation: Evaluation, row: Row, key: str | None) -> Row:
    collection, names = evaluation.collection, list(row.values)
    for rankings in evaluation.rankings(row.stage, key, row.pool, row.weight):
        judged = {query: collection.qrels[query] for query in rankings}
        for measure, values in measure_rankings(rankings, judged, names).items():
            row.values[measure].update(values)
        if key is not None and evaluation.is_ordered(row.stage):
            for query, ranking in rankings.items():
                row.moved.update(_moves(evaluation, row.stage, query, ranking))
    return row


def _moves(evaluation: Evaluation, stage: str, query: str, ranking: Sequence[str]) -> Iterator[Moved]:
    before = {passage: place for place, passage in enumerate(evaluation.candidates(stage, query), start=1)}
    after = {passage: place for place, passage in enumerate(ranking, start=1)}
    for passage in evaluation.relevant[query]:
        if passage in before and passage in after:
            yield Moved(before[passage], after[passage])


def _ceiling(evaluation: Evaluation, stage: str, pool: int | None) -> float:
    shares = []
    for query, relevant in evaluation.relevant.items():
        found = set(evaluation.pool(stage, query, pool))
        shares.append(sum(passage in found for passage in relevant) / len(relevant) if relevant else 0.0)
    return fmean(shares)


def _no_values(evaluation: Evaluation) -> Values:
    names = check_measures(evaluation.settings.measures, relevant_from=evaluation.settings.relevant_from)
    return {name: {} for name in names}
