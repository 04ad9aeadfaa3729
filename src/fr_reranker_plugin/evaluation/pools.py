"""Which candidates of a query are reranked, by protocol, and how they are ordered: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal
from zlib import crc32

Protocol = Literal["pool", "two-stage"]
"""`"pool"`: every relevant passage is among those that are reranked, whatever a first stage found. `"two-stage"`: what
the first stage missed stays missed."""

_LOWEST: Final = -1e30
"""Where passages without text begin, far from the lowest 32-bit float, so that there is room below."""


def pool_of(candidates: Sequence[str], size: int | None, *, relevant: Sequence[str], protocol: Protocol) -> list[str]:
    """Give the passages of one query that are reranked.

    :param candidates: What the first stage found, best first; or without an order, by `neutral_order`.
    :param size: How many to rerank; `None` is all. With `"pool"` the relevant ones take their place among them, and
        are all in it even where there are more than `size`.
    :param relevant: The passages that are judged relevant.
    """
    if protocol == "two-stage":
        return list(candidates[:size])
    others = [one for one in candidates if one not in set(relevant)]
    room = None if size is None else max(size - len(relevant), 0)
    kept = {*relevant, *others[:room]}
    return [one for one in dict.fromkeys([*candidates, *relevant]) if one in kept]


def neutral_order(passages: Sequence[str]) -> list[str]:
    """Order passages by a checksum of their ids, so that neither relevance nor the order of a file decides."""
    return sorted(passages, key=lambda one: (crc32(one.encode()), one))


def reranked(candidates: Sequence[str], pool: Sequence[str], logits: Mapping[str, float]) -> list[str]:
    """Put the pool in the order of its logits, best first, equal ones as they stand in it.

    The candidates outside of it follow as they stood.
    """
    inside = set(pool)
    best_first = sorted(pool, key=logits.__getitem__, reverse=True)
    return [*best_first, *(one for one in candidates if one not in inside)]


def falling_scores(logits: Sequence[float]) -> list[float]:
    """Give the logits of a ranking as scores that fall at every place, for tools that break ties in their own way.

    trec_eval compares 32-bit floats and orders equal ones by passage id. So a score that does not fall is set to the
    next 32-bit float below the one before.

    :param logits: Best first.
    """
    import numpy as np

    scores: list[float] = []
    for logit in logits:
        score = np.float32(max(logit, _LOWEST))
        if scores and score >= scores[-1]:
            score = np.nextafter(np.float32(scores[-1]), np.float32(-np.inf))
        scores.append(float(score))
    return scores
