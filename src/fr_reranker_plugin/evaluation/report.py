"""The report of an evaluation: what was measured on what, and apart from it what depends on the day."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from fr_reranker_plugin.evaluation.evaluation import Evaluation
from fr_reranker_plugin.evaluation.latency import Latency
from fr_reranker_plugin.evaluation.provenance import ModelFacts, machine_facts, versions
from fr_reranker_plugin.evaluation.published import published_figures
from fr_reranker_plugin.evaluation.results import Row
from fr_reranker_plugin.evaluation.thresholds import Threshold, suggested

_FORMAT: Final = 1
_DIGITS: Final = 6
_SHOWN: Final = 200
"""Characters of a passage that an example shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Everything that an evaluation found on one collection.

    :param rows: See `measure_all`.
    :param models: By the name that the rows give them.
    :param curves: The threshold curve by first stage and model, where it was asked for.
    :param latencies: By model, of the first of the first stages.
    """

    evaluation: Evaluation
    rows: Sequence[Row]
    models: dict[str, ModelFacts]
    curves: dict[tuple[str, str], list[Threshold]] = field(default_factory=dict)
    latencies: dict[str, list[Latency]] = field(default_factory=dict)
    memory: dict[str, int | None] = field(default_factory=dict)

    @property
    def main_measure(self) -> str:
        """The measure that comparisons are about: the first one asked for."""
        return next(iter(self.rows[0].values))

    def first_stage_row(self, stage: str) -> Row | None:
        """Give the row of a first stage without a reranker, to compare with.

        `None` where it does not rank, and for pools: they hold relevant passages that it did not find.
        """
        if self.evaluation.settings.protocol == "pool":
            return None
        return next((row for row in self.rows if row.stage == stage and row.model is None), None)

    def rows_of(self, stage: str, model: str | None, weight: float = 0.0) -> list[Row]:
        """Give the rows of a model over a first stage that counts so much, one a pool."""
        return [row for row in self.rows if (row.stage, row.model, row.weight) == (stage, model, weight)]

    def row_of_first_model(self, row: Row) -> Row | None:
        """Give the row of the first model for the same candidates; `None` for its own rows."""
        first = next(iter(self.models))
        same = (other for other in self.rows_of(row.stage, first, row.weight) if other.pool == row.pool)
        return None if row.model == first else next(same)

    def deepest_rows(self) -> list[Row]:
        """Give the row with the largest pool, of every model over every first stage."""
        lines = dict.fromkeys((row.stage, row.model) for row in self.rows if row.model is not None)
        return [max(self.rows_of(*line), key=lambda row: row.pool or math.inf) for line in lines]


def as_report(measured: Measured) -> dict[str, Any]:
    """Give the report as JSON values. All but `"today"` is the same whenever the same is measured."""
    evaluation = measured.evaluation
    collection, settings = evaluation.collection, evaluation.settings
    return {
        "format": _FORMAT,
        "protocol": settings.protocol,
        "collection": {
            "name": collection.name,
            "fingerprint": collection.fingerprint,
            "queries": len(collection.qrels),
            "judgements": sum(map(len, collection.qrels.values())),
            "relevant_from": settings.relevant_from,
        },
        "seed": settings.seed,
        "models": {name: {**asdict(facts), **_read(measured, facts)} for name, facts in measured.models.items()},
        "rows": [_row(measured, row) for row in measured.rows],
        "thresholds": [
            {"first_stage": stage, "model": model, "suggested": _threshold(suggested(curve)),
             "curve": [_threshold(one) for one in curve]}
            for (stage, model), curve in measured.curves.items()
        ],
        "published": {name: [asdict(one) for one in published_figures(name)] for name in measured.models},
        "made_worse": [example for row in measured.deepest_rows() for example in _examples(measured, row)],
        "today": {
            "machine": machine_facts(),
            "versions": versions(),
            "peak_memory_bytes": measured.memory,
            "latency_seconds": {
                model: [one._asdict() for one in latencies] for model, latencies in measured.latencies.items()
            },
        },
    }  # fmt: skip


def _read(measured: Measured, facts: ModelFacts) -> dict[str, int]:
    counted = measured.evaluation.truncated(facts.key)
    return {"pairs_scored": counted.pairs, "pairs_truncated": counted.truncated}


def _row(measured: Measured, row: Row) -> dict[str, Any]:
    seed = measured.evaluation.settings.seed
    found: dict[str, Any] = {
        "first_stage": row.stage,
        "model": row.model,
        "pool": row.pool,
        "first_stage_weight": row.weight,
        "measures": {name: _rounded(row.mean(name, seed=seed)._asdict()) for name in row.values},
    }
    if row.ceiling is not None:
        found["recall_ceiling"] = round(row.ceiling, _DIGITS)
    if row.model is not None:
        found |= {
            name: _change(measured, row, other)
            for name, other in (
                ("change", measured.first_stage_row(row.stage)),
                ("change_from_first_model", measured.row_of_first_model(row)),
            )
            if other is not None
        }
    return found


def _change(measured: Measured, row: Row, other: Row) -> dict[str, Any]:
    change = row.change_from(other, measured.main_measure, seed=measured.evaluation.settings.seed)
    return {
        "measure": measured.main_measure,
        **_rounded(change.difference._asdict()),
        "queries_better": change.better,
        "queries_worse": change.worse,
    }


def _examples(measured: Measured, row: Row) -> list[dict[str, Any]]:
    before = measured.first_stage_row(row.stage)
    if before is None or row.model is None:
        return []
    name = measured.main_measure
    return [
        {
            "first_stage": row.stage,
            "model": row.model,
            "pool": row.pool,
            "query": query,
            "text": measured.evaluation.collection.queries[query],
            "before": round(before.values[name][query], _DIGITS),
            "after": round(row.values[name][query], _DIGITS),
            **_tops(measured, row, query),
        }
        for query in row.worst_against(before, name)
    ]


def _tops(measured: Measured, row: Row, query: str) -> dict[str, Any]:
    """Show the passage that was first before, and the one that is first now."""
    evaluation = measured.evaluation
    candidates = evaluation.candidates(row.stage, query)
    logits = evaluation.logits(measured.models[str(row.model)].key, query)
    now = max(evaluation.pool(row.stage, query, row.pool), key=logits.__getitem__)
    texts = evaluation.texts([candidates[0], now])
    grades = evaluation.collection.qrels[query]
    return {
        place: {"passage": passage, "grade": grades.get(passage), "text": text[:_SHOWN]}
        for place, passage, text in zip(("first_before", "first_after"), (candidates[0], now), texts, strict=True)
    }


def _threshold(one: Threshold) -> dict[str, float]:
    """Round the measures, but not the score: a threshold above it would not keep what it does."""
    return {**_rounded(one._asdict()), "score": one.score}


def _rounded(values: dict[str, float]) -> dict[str, float]:
    """Round values of 0..1 for a reader; a probability keeps its size, however small."""
    return {name: float(f"{value:.3g}") if name == "p" else round(value, _DIGITS) for name, value in values.items()}
