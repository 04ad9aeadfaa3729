"""What `bench` measures between reading its options and printing."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain, cycle, islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from fr_reranker_plugin.cli.model_options import ModelOptions
from fr_reranker_plugin.cli.scoring import opened_scorer, silence_libraries
from fr_reranker_plugin.scoring.scorer import Pair

if TYPE_CHECKING:
    from fr_reranker_plugin.scoring.shared import SharedScorer

BUDGETS: Final = (256, 512, 1024, 2048, 4096, 8192)
"""Token budgets that the sweep tries."""

_PASSAGES: Final = 20
_ROUNDS: Final = 3
_MOST_PAIRS: Final = 10_000
_FEWEST_REQUESTS: Final = 3
_MOST_REQUESTS: Final = 200


def measure(options: ModelOptions, *, seconds: float) -> dict[str, Any]:
    """Load the model and measure it.

    :param seconds: About how long the many pairs take, and the requests; a slow model takes longer.
    :return: Plain values for JSON: rates are medians of three rounds, over useful tokens; latencies are of requests
        of 20 passages; `efficiency` is useful over computed tokens, 0..1; memory is the peak of the process, of the GPU
        where one is used.
    :raises ModelLoadError: If the model cannot be loaded.
    """
    import torch

    from fr_reranker_plugin.scoring.loading import resolve_settings

    silence_libraries()
    settings = resolve_settings(options.model_settings())
    budget = options.batch_settings().for_device(settings.devices[0]).max_batch_tokens
    start = perf_counter()
    with opened_scorer(options) as scorer:
        loaded = perf_counter() - start
        found = _speed(scorer, seconds)
        latencies = sorted(_latencies(scorer, seconds))
        efficiency = _counted(scorer)[2]
    return {
        "model": settings.model,
        "device": settings.device,
        "dtype": settings.dtype,
        "backend": settings.backend,
        "max_batch_tokens": budget,
        "threads": torch.get_num_threads(),
        "load_seconds": loaded,
        **found,
        "requests": len(latencies),
        "request_p50_ms": 1000 * statistics.median(latencies),
        "request_p95_ms": 1000 * latencies[round(0.95 * (len(latencies) - 1))],
        "efficiency": efficiency,
        "peak_memory_mib": peak_memory(settings.devices[0]),
    }


def try_budgets(options: ModelOptions, *, seconds: float) -> dict[str, Any]:
    """Measure the model with each token budget, and with the default or the one that was asked for.

    :param seconds: About how long all of them take together.
    :return: `budgets`, each with its speed and latency; the `best`; and its `gain` in pairs per second over the budget
        that holds without the sweep (0.1 is 10 % faster).
    """
    from fr_reranker_plugin.scoring.loading import resolve_settings

    device = resolve_settings(options.model_settings()).devices[0]
    default = options.batch_settings().for_device(device).max_batch_tokens or BUDGETS[0]
    budgets = sorted({*BUDGETS, default})
    each = seconds / len(budgets) / 2
    rows = []
    for budget in budgets:
        with opened_scorer(replace(options, max_batch_tokens=budget)) as scorer:
            speed = _speed(scorer, each)["pairs_per_second"]
            latency = statistics.median(_latencies(scorer, each))
        rows.append({"max_batch_tokens": budget, "pairs_per_second": speed, "request_p50_ms": 1000 * latency})
    speeds = {row["max_batch_tokens"]: row["pairs_per_second"] for row in rows}
    best = max(speeds, key=lambda budget: speeds[budget])
    return {"budgets": rows, "best": best, "gain": speeds[best] / speeds[default] - 1}


def sample_requests() -> Iterator[list[Pair]]:
    """Yield requests of 20 passages of the sample collection without end; the first 10,000 pairs are all different."""
    from fr_reranker_plugin.collections import load_collection, sample_folder

    collection = load_collection(sample_folder())
    passages = cycle(passage.full_text for passage in collection.corpus.values())
    for question in cycle(collection.queries.values()):
        yield [(question, text) for text in islice(passages, _PASSAGES)]


def peak_memory(device: str | None) -> float | None:
    """Give the peak so far in MiB: of the GPU's memory if one is used, else of the process; `None` where unknown."""
    if device is not None and device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    with suppress(ImportError):
        import resource

        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return None


def _speed(scorer: SharedScorer, seconds: float) -> dict[str, Any]:
    """Score many pairs in one call, three times, and give the medians of the rates."""
    requests = sample_requests()
    scorer.score(next(requests))
    start = perf_counter()
    scorer.score(next(requests))
    each = (perf_counter() - start) / _PASSAGES
    count = int(min(_MOST_PAIRS, max(2 * _PASSAGES, seconds / _ROUNDS / each)))
    pairs = list(islice(chain.from_iterable(sample_requests()), count))
    pair_rates, token_rates = [], []
    for _ in range(_ROUNDS):
        before, start = _counted(scorer)[1], perf_counter()
        scorer.score(pairs)
        spent = perf_counter() - start
        pair_rates.append(count / spent)
        token_rates.append((_counted(scorer)[1] - before) / spent)
    return {
        "pairs": count,
        "pairs_per_second": statistics.median(pair_rates),
        "tokens_per_second": statistics.median(token_rates),
    }


def _latencies(scorer: SharedScorer, seconds: float) -> list[float]:
    """Send requests one after another until the time is over, and give the seconds of each."""
    latencies: list[float] = []
    end = perf_counter() + seconds
    for request in islice(sample_requests(), _MOST_REQUESTS):
        start = perf_counter()
        if start > end and len(latencies) >= _FEWEST_REQUESTS:
            break
        scorer.score(request)
        latencies.append(perf_counter() - start)
    return latencies


def _counted(scorer: SharedScorer) -> tuple[int, int, float]:
    """Give the pairs and useful tokens that a warm scorer has computed, and its efficiency."""
    snapshot = scorer.snapshot()
    if snapshot is None:
        return 0, 0, 1.0
    return snapshot.pairs, snapshot.tokens, snapshot.efficiency
