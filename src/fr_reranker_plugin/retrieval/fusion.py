"""Several rankings of the same documents become one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.settings import check_whole_number


class _Standing(NamedTuple):
    """How a document stands so far: its best rank, and what each ranking adds to its score."""

    best_rank: int
    shares: list[float]


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[str]], *, k: int = 60, weights: Sequence[float] | None = None
) -> list[tuple[str, float]]:
    """Merge rankings by the ranks alone, so that scores on different scales need not be compared.

    A document's score is the sum of `weight / (k + rank)` over the rankings that hold it, ranks from 1 (Cormack, Clarke
    & Büttcher 2009). Equal scores are ordered by the best rank, then by where the document first appears. A document
    that stands in one ranking twice counts once, at its better rank; those below keep theirs.

    :param rankings: Document ids, best first.
    :param k: How little the first ranks stand out; 60 in the paper.
    :param weights: How much each ranking counts, 0 or more; one of weight 0 is left out. `None`: all alike.
    :return: Every document with its score, best first.
    :raises SettingsError: If `k` is negative, a weight is not a finite number of at least 0, or there are not as many
        weights as rankings.
    """
    check_whole_number("k", k, at_least=0)
    standings: dict[str, _Standing] = {}
    for ranking, weight in zip(rankings, _checked_weights(rankings, weights), strict=True):
        for document, rank in _ranks(ranking).items() if weight else ():
            best_rank, shares = standings.get(document) or _Standing(rank, [])
            standings[document] = _Standing(min(best_rank, rank), [*shares, weight / (k + rank)])
    scores = {document: math.fsum(standing.shares) for document, standing in standings.items()}
    return sorted(scores.items(), key=lambda scored: (-scored[1], standings[scored[0]].best_rank))


def _ranks(ranking: Sequence[str]) -> dict[str, int]:
    """Give the best rank of each document of a ranking, from 1."""
    ranks: dict[str, int] = {}
    for rank, document in enumerate(ranking, start=1):
        ranks.setdefault(document, rank)
    return ranks


def _checked_weights(rankings: Sequence[Sequence[str]], weights: Sequence[float] | None) -> Sequence[float]:
    if isinstance(rankings, str) or any(isinstance(ranking, str) for ranking in rankings):
        raise SettingsError("expected a list of rankings, each a list of document ids; got a string in place of a list")
    if weights is None:
        return [1.0] * len(rankings)
    if len(weights) != len(rankings):
        raise SettingsError(f"expected a weight for each of {len(rankings)} rankings, got {len(weights)} weights")
    for weight in weights:
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
            raise SettingsError(f"a weight must be a finite number of at least 0, got {weight!r}")
    return weights
