"""Who scores the rows of a data set: a scorer of this process, or the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING

from fr_reranker_plugin.errors import ScoringError
from fr_reranker_plugin.scoring.in_flight import under_way
from fr_reranker_plugin.scoring.long_documents import WindowSettings, reading
from fr_reranker_plugin.scoring.ray_workers import RayCluster, score_on_ray
from fr_reranker_plugin.scoring.row_scoring import score_rows
from fr_reranker_plugin.scoring.scorer import Logits, Pair, Scorer
from fr_reranker_plugin.scoring.settings import BatchSettings, ModelSettings

if TYPE_CHECKING:
    from fr_reranker_plugin.bulk.parts import Part

Block = tuple["Part", Sequence[Sequence[Pair]]]
ScoredBlock = tuple["Part", list[Logits | ScoringError]]

ScoredBlocks = Generator[ScoredBlock, None, None]

ScoreRows = Callable[[Iterable[Block], WindowSettings | None], ScoredBlocks]
"""Scores the rows of parts, long passages in windows where there are settings for them, and gives the parts back in any
order with what `score_rows` gives for their rows; closed, it drops what is under way."""


def by_scorer(scorer: Scorer, *, in_flight: int = 2) -> ScoreRows:
    """Score by a scorer of this process, several parts at a time, so that it never waits for the next one.

    :param in_flight: Parts that are under way together.
    """

    def score(blocks: Iterable[Block], windows: WindowSettings | None) -> ScoredBlocks:
        reader = reading(scorer, windows)
        for (part, _), scored in under_way(blocks, lambda block: score_rows(reader, block[1]), most=in_flight):
            yield part, scored

    return score


def by_ray(model: ModelSettings, batch: BatchSettings | None, cluster: RayCluster) -> ScoreRows:
    """Score on the workers of a cluster; see `score_on_ray`."""

    def score(blocks: Iterable[Block], windows: WindowSettings | None) -> ScoredBlocks:
        return score_on_ray(blocks, model, batch, cluster, windows=windows)

    return score
