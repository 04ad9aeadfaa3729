"""Two measures of a ranking, as the literature and trec_eval define them; they need no other package."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def ndcg(ranking: Sequence[str], grades: Mapping[str, int], *, at: int) -> float:
    """Give the normalised discounted cumulative gain of the first `at` passages, 0..1.

    The gain is the grade, the discount `log2(rank + 1)` (Järvelin & Kekäläinen 2002, as in trec_eval). It is divided by
    that of the best possible order of all judged passages; a query without a relevant passage counts as 0.
    """
    best = _dcg(sorted(grades.values(), reverse=True)[:at])
    return _dcg([grades.get(passage, 0) for passage in ranking[:at]]) / best if best else 0.0


def reciprocal_rank(ranking: Sequence[str], grades: Mapping[str, int], *, at: int) -> float:
    """Give 1 / rank of the first passage with a grade above 0 among the first `at`, or 0 if there is none."""
    ranks = (rank for rank, passage in enumerate(ranking[:at], start=1) if grades.get(passage, 0) > 0)
    return 1 / next(ranks, math.inf)


def _dcg(grades: Sequence[int]) -> float:
    return sum(max(grade, 0) / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1))
