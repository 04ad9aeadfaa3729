"""Scoring blocks of pairs in this process, without a pause between them."""

from __future__ import annotations

from collections.abc import Iterator

from fr_reranker_plugin.evaluation.evaluation import Block, ScoreBlocks, ScoredBlocks
from fr_reranker_plugin.scoring.in_flight import under_way
from fr_reranker_plugin.scoring.row_scoring import score_bulk
from fr_reranker_plugin.scoring.scorer import Scorer


def by_scorer(scorer: Scorer, *, in_flight: int = 2) -> ScoreBlocks:
    """Score blocks by a scorer, several at a time, so that it never waits for the next one.

    :param in_flight: Blocks that are under way together; one more than there are devices keeps all of them busy.
    """

    def score(blocks: Iterator[Block]) -> ScoredBlocks:
        return under_way(blocks, lambda block: score_bulk(scorer, block.pairs), most=in_flight)

    return score
