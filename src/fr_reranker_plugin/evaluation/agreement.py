"""How near the logits of one loader are to another's, and whether both rank alike."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean
from typing import Final, NamedTuple

from fr_reranker_plugin.scoring.ranking import sigmoid
from fr_reranker_plugin.scoring.scorer import Pair

CLEARLY_APART: Final = 0.02
"""A difference of scores (0..1) that no other loader may turn round."""


class Agreement(NamedTuple):
    """Differences between two lists of logits, and between the rankings that follow from them.

    :param pairs: How many were compared.
    :param max: Greatest difference of two logits of one pair.
    :param p99: The 99th percentile of the differences.
    :param mean: Their mean.
    :param score_max: Greatest difference of two scores, the sigmoids of the logits.
    :param kendall_tau: Mean of Kendall's tau over the questions with several passages, -1..1; `None` without any.
    :param inversions: Pairs of passages of one question whose reference scores differ by more than 0.02, and which the
        other loader puts the other way round, or level.
    """

    pairs: int
    max: float
    p99: float
    mean: float
    score_max: float
    kendall_tau: float | None
    inversions: int


def agreement(reference: Sequence[float], logits: Sequence[float], requests: Sequence[Sequence[object]]) -> Agreement:
    """Compare logits pair by pair, and rankings request by request.

    :param reference: Logits of the reference, for all requests in order.
    :param logits: Those of the other loader.
    :param requests: Pairs of one question each; only their number counts.
    """
    import numpy as np

    difference = np.abs(np.asarray(reference, float) - np.asarray(logits, float))
    groups = [(reference[start:end], logits[start:end]) for start, end in _bounds(requests)]
    taus = [kendall_tau(expected, found) for expected, found in groups if len(expected) > 1]
    return Agreement(
        pairs=len(difference),
        max=float(difference.max()),
        p99=float(np.percentile(difference, 99)),
        mean=float(difference.mean()),
        score_max=max(abs(sigmoid(one) - sigmoid(other)) for one, other in zip(reference, logits, strict=True)),
        kendall_tau=fmean(taus) if taus else None,
        inversions=sum(inversions(expected, found) for expected, found in groups),
    )


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Give Kendall's tau-a of two score lists of equal length of at least 2, -1..1; ties count as neither."""
    return fmean(
        _sign(first[i] - first[j]) * _sign(second[i] - second[j]) for i, j in combinations(range(len(first)), 2)
    )


def inversions(reference: Sequence[float], logits: Sequence[float]) -> int:
    """Count the pairs of passages that the reference holds clearly apart and `logits` does not put in that order."""
    scores = [sigmoid(logit) for logit in reference]
    return sum(
        abs(scores[i] - scores[j]) > CLEARLY_APART and _sign(scores[i] - scores[j]) != _sign(logits[i] - logits[j])
        for i, j in combinations(range(len(scores)), 2)
    )


def by_question(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Split consecutive pairs where the question changes."""
    groups: list[list[Pair]] = []
    for pair in pairs:
        if not groups or groups[-1][0][0] != pair[0]:
            groups.append([])
        groups[-1].append(pair)
    return groups


def _bounds(requests: Sequence[Sequence[object]]) -> list[tuple[int, int]]:
    """Give where each request starts and ends in the list of all pairs."""
    bounds, start = [], 0
    for request in requests:
        bounds.append((start, start + len(request)))
        start += len(request)
    return bounds


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
