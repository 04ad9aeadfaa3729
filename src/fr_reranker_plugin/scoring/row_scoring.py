"""Scoring several rows of pairs together, so that one of them may fail without the others."""

from __future__ import annotations

from collections.abc import Sequence

from fr_reranker_plugin.errors import ScoringError
from fr_reranker_plugin.scoring.scorer import Logits, Pair, Scorer, as_logits


async def score_rows(scorer: Scorer, rows: Sequence[Sequence[Pair]]) -> list[Logits | ScoringError]:
    """Score the pairs of rows as one bulk request; if the model fails on it, each row as one of its own.

    :param rows: Pairs that belong together, such as those of one query. A row may be empty.
    :return: For each row one logit per pair, or the error of a row that the model fails on.
    """
    try:
        logits = await score_bulk(scorer, [pair for row in rows for pair in row])
    except ScoringError as error:
        return [error] if len(rows) == 1 else [one for row in rows for one in await score_rows(scorer, [row])]
    return list(logits.parts(map(len, rows)))


async def score_bulk(scorer: Scorer, pairs: Sequence[Pair]) -> Logits:
    """Score pairs that nobody waits for."""
    return as_logits(await scorer.ascore(pairs, priority="bulk"))
