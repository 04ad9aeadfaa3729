"""Which score to ask for: precision and recall of what a threshold keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.evaluation.evaluation import Evaluation
from fr_reranker_plugin.scoring.ranking import sigmoid

_POINTS: Final = 99


class Threshold(NamedTuple):
    """What passages with at least `score` are, over all queries: how many, and how good.

    `precision` is the relevant share of what is kept, `recall` the kept share of what is relevant (what a first stage
    missed counts as lost), `f1` their harmonic mean; all in 0..1.
    """

    score: float
    kept: int
    precision: float
    recall: float
    f1: float


def threshold_curve(logits: Sequence[float], relevant: Sequence[bool], *, missed: int = 0) -> list[Threshold]:
    """Give what up to 99 thresholds keep, from the lowest to the highest; at each, scores are compared with `>=`.

    The thresholds are scores that occur, spread evenly over the ranked pairs.

    :param logits: One a pair; the score is its sigmoid.
    :param relevant: Whether the passage of the pair is relevant.
    :param missed: Relevant passages that were not scored at all.
    :raises SettingsError: If there is no pair, or nothing is relevant.
    """
    if not len(logits) or not any(relevant):
        raise SettingsError("a threshold curve needs scored pairs of which at least one is relevant")
    order = np.argsort(-np.asarray(logits), kind="stable")
    values, hits = np.asarray(logits)[order], np.asarray(relevant, dtype=np.int64)[order].cumsum()
    ends = np.flatnonzero(np.append(values[1:] != values[:-1], True))  # the last pair of each score
    chosen = ends[np.unique(np.linspace(0, len(ends) - 1, _POINTS).round().astype(int))]
    total = int(hits[-1]) + missed
    return [_threshold(float(values[at]), int(at) + 1, int(hits[at]), total) for at in chosen[::-1]]


def suggested(curve: Sequence[Threshold]) -> Threshold:
    """Give the threshold with the best F1; the higher one where two are equally good."""
    return max(curve, key=lambda one: (one.f1, one.score))


def measured_curve(evaluation: Evaluation, stage: str, model: str) -> list[Threshold]:
    """Give the curve of a model over the largest pool of a first stage.

    :raises SettingsError: If nothing relevant was scored.
    """
    logits: list[float] = []
    relevant: list[bool] = []
    missed = 0
    for query, passages in evaluation.relevant.items():
        scored = evaluation.logits(model, query)
        pool = evaluation.pool(stage, query, evaluation.settings.largest_pool)
        logits += [scored[passage] for passage in pool]
        good = set(passages)
        relevant += [passage in good for passage in pool]
        missed += len(good.difference(pool))
    return threshold_curve(logits, relevant, missed=missed)


def _threshold(logit: float, kept: int, hits: int, total: int) -> Threshold:
    precision, recall = hits / kept, hits / total
    both = precision + recall
    return Threshold(sigmoid(logit), kept, precision, recall, 2 * precision * recall / both if both else 0.0)
