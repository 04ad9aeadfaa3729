"""Scoring several rows of pairs together, so that one of them may fail without the others."""

from __future__ import annotations

from collections.abc import Sequence

from fr_reranker_plugin.errors import ScoringError
from fr_reranker_plugin.scoring.scorer import Logits, Pair, Scorer


def score_rows(scorer: Scorer, rows: Sequence[Sequence[Pair]]) -> list[Logits | ScoringError]:
    """Score the pairs of rows as one bulk request; if the model fails on it, each row as one of its own.

    :param rows: Pairs that belong together, such as those of one query. A row may be empty.
    :return: For each row one logit per pair, or the error of a row that the model fails on.
    """
    try:
        scored = scorer.score([pair for row in rows for pair in row], priority="bulk")
    except ScoringError as error:
        return [error] if len(rows) == 1 else [one for row in rows for one in score_rows(scorer, [row])]
    return _by_row(scored, rows)


def _by_row(scored: Sequence[float], rows: Sequence[Sequence[Pair]]) -> list[Logits | ScoringError]:
    truncated: Sequence[int] = getattr(scored, "truncated", ())
    found: list[Logits | ScoringError] = []
    start = 0
    for row in rows:
        end = start + len(row)
        cut = [place - start for place in truncated if start <= place < end]
        found.append(Logits(scored[start:end], truncated=cut))
        start = end
    return found
