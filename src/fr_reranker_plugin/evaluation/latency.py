"""How long one caller waits for the reranked candidates of one query."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter
from typing import Final, NamedTuple

import numpy as np

from fr_reranker_plugin.evaluation.evaluation import Evaluation
from fr_reranker_plugin.scoring.scorer import Scorer

_QUERIES: Final = 20
_FEWEST: Final = 3
_SECONDS: Final = 30.0
_KIBIBYTE: Final = 1024


class Latency(NamedTuple):
    """Seconds from asking for one query's logits to having them, one query after the other.

    Tokens of passages that the scorer has read before are remembered, as in service.
    """

    pool: int | None
    queries: int
    pairs: int
    p50: float
    p95: float
    pairs_per_second: float


def measure_latency(
    evaluation: Evaluation, stage: str, scorer: Scorer, pool: int | None, *, clock: Callable[[], float] = perf_counter
) -> Latency:
    """Time queries spread over the collection: 20 of them, or as many as half a minute allows, but at least 3."""
    asked = list(evaluation.collection.queries)
    chosen = asked[:: max(1, len(asked) // _QUERIES)][:_QUERIES]
    seconds: list[float] = []
    pairs = 0
    for query in chosen:
        passages = evaluation.pool(stage, query, pool)
        texts = [text for text in evaluation.texts(passages) if text.strip()]
        question = evaluation.collection.queries[query]
        start = clock()
        scorer.score([(question, text) for text in texts])
        seconds.append(clock() - start)
        pairs += len(texts)
        if len(seconds) >= _FEWEST and sum(seconds) > _SECONDS:
            break
    middle, high = np.percentile(seconds, (50, 95))
    return Latency(pool, len(seconds), pairs, float(middle), float(high), pairs / max(sum(seconds), 1e-9))


def peak_memory() -> int | None:
    """Give the most memory that this process has held so far, in bytes; `None` where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _KIBIBYTE


def peak_gpu_memory() -> int | None:
    """Give the most memory that torch has held on all GPUs together, in bytes; `None` without one."""
    import torch

    if not torch.cuda.is_available():
        return None
    return sum(torch.cuda.max_memory_allocated(device) for device in range(torch.cuda.device_count()))
