"""Scoring the pairs of an evaluation on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator

from fr_reranker_plugin.errors import ScoringError
from fr_reranker_plugin.evaluation.evaluation import Block, ScoreBlocks, ScoredBlocks
from fr_reranker_plugin.scoring.ray_workers import RayCluster, score_on_ray
from fr_reranker_plugin.scoring.settings import BatchSettings, ModelSettings


def by_ray(model: ModelSettings, batch: BatchSettings | None, cluster: RayCluster) -> ScoreBlocks:
    """Score blocks on the workers of a cluster; see `score_on_ray`."""

    def score(blocks: Iterator[Block]) -> ScoredBlocks:
        rows = ((block, [block.pairs]) for block in blocks)
        for block, [logits] in score_on_ray(rows, model, batch, cluster):
            if isinstance(logits, ScoringError):
                raise logits
            yield block, logits

    return score
