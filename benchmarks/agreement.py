"""How near the logits of a contender are to the reference's, and whether they rank alike."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np


def agreement(
    reference: Sequence[float], logits: Sequence[float], requests: Sequence[Sequence[object]]
) -> dict[str, Any]:
    """Compare logits pair by pair, and rankings request by request.

    :param reference: Logits of the reference, for all requests in order.
    :param logits: Those of the contender.
    :param requests: Pairs of one question each; Kendall's tau is taken inside each and averaged.
    """
    difference = np.abs(np.asarray(reference, float) - np.asarray(logits, float))
    taus, start = [], 0
    for request in requests:
        end = start + len(request)
        if len(request) > 1:
            taus.append(kendall_tau(reference[start:end], logits[start:end]))
        start = end
    return {
        "pairs": len(difference),
        "max": float(difference.max()),
        "p99": float(np.percentile(difference, 99)),
        "mean": float(difference.mean()),
        "kendall_tau": float(np.mean(taus)) if taus else None,
    }


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Give Kendall's tau-a of two score lists of equal length of at least 2, -1..1; ties count as neither."""
    signs = [
        np.sign(first[i] - first[j]) * np.sign(second[i] - second[j]) for i, j in combinations(range(len(first)), 2)
    ]
    return float(np.mean(signs))


def by_question(pairs: Sequence[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Split consecutive pairs where the question changes."""
    groups: list[list[tuple[str, str]]] = []
    for pair in pairs:
        if not groups or groups[-1][0][0] != pair[0]:
            groups.append([])
        groups[-1].append(pair)
    return groups


def planned_efficiency(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """Give useful over computed tokens (0..1) of padded batches, given as positions."""
    computed = sum(max(lengths[at] for at in batch) * len(batch) for batch in batches)
    return sum(lengths) / computed
