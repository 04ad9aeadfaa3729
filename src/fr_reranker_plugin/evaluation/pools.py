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

    :param candidates: What the first stage found, best first.
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


def reranked(
    candidates: Sequence[str], pool: Sequence[str], logits: Mapping[str, float], *, ordered: bool
) -> list[str]:
    """Put the pool in the order of its logits, best first; the candidates outside of it follow as they stood.

    :param ordered: Whether the first stage ranked the candidates: then equal logits keep its order. Else their order
        is by a checksum of the id, so that neither relevance nor the order of a file decides.
    """
    places = {one: place for place, one in enumerate(pool)} if ordered else {one: _neutral(one) for one in pool}
    best_first = sorted(pool, key=lambda one: (-logits[one], places[one]))
    inside = set(pool)
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


def _neutral(identifier: str) -> int:
    return crc32(identifier.encode())
