"""From relevance scores, where a server gives nothing else, back to logits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

_LEAST: Final = math.ulp(0.0)
_MOST: Final = math.nextafter(1.0, 0.0)


def log_odds(score: float) -> float:
    """Give the logit whose sigmoid is `score`; of 0 and 1, that of the number beside it.

    :param score: 0 to 1.
    """
    inside = min(max(score, _LEAST), _MOST)
    if 0.25 <= inside <= 0.75:  # noqa: PLR2004 -- where `2 * inside - 1` is exact, and the logarithms would cancel
        return 2.0 * math.atanh(2.0 * inside - 1.0)
    return math.log(inside) - math.log1p(-inside)


def logits_of_scores(scores: Sequence[float]) -> list[float]:
    """Give the logits of scores from 0 to 1, in the order of the scores: equal ones are equal, a higher one is higher.

    Far from 0, logits lie further apart than scores do, and several scores would share one. Each is therefore put above
    the one before, by the smallest step that there is.
    """
    logits: dict[float, float] = {}
    below = -math.inf
    for score in sorted(set(scores)):
        below = logits[score] = max(log_odds(score), math.nextafter(below, math.inf))
    return [logits[score] for score in scores]
