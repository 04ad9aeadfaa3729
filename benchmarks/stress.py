"""Watch the memory of the shared scorer under a long mixed load: `python -m benchmarks.stress`.

Three parts: a soak (mixed requests from threads and tasks; once the caches are full, resident memory must not grow), a
large request (its peak memory against a small one's, each in a process of its own), and the scheduler's own cost (no
model at all).

    python -m benchmarks.stress --requests 10000 --output benchmarks/results/stress.json
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import resource
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np

from benchmarks.machine import machine, provenance
from benchmarks.models import checkpoint
from benchmarks.session import say
from fr_reranker_plugin import BatchingScorer, BatchSettings, ModelSettings, SharedScorer, shared_scorer
from fr_reranker_plugin.scoring.requests import Request
from fr_reranker_plugin.scoring.scheduling import Limits, Schedule
from fr_reranker_plugin.scoring.scorer import EncodedPair

WORDS: Final = ("la", "mairie", "de", "Nantes", "ouvre", "ses", "guichets", "chaque", "matin", "pour", "les", "cartes")
QUESTION: Final = "Où voter dimanche ?"
_ROUNDS: Final = 20
PASSAGES: Final = (1, 1, 2, 2, 4, 4, 8, 8, 8, 40)


def passage(draw: np.random.Generator, words: int) -> str:
    """Write a text of so many words that does not come again."""
    return " ".join(draw.choice(WORDS, words)) + f" {draw.integers(10**9)}"


def mixed_request(seed: int) -> list[tuple[str, str]]:
    """Make a request of one to forty passages of five to sixty words."""
    draw = np.random.default_rng(seed)
    return [(QUESTION, passage(draw, int(draw.integers(5, 60)))) for _ in range(draw.choice(PASSAGES))]


def resident_mib() -> float:
    """Give the memory of this process that is in RAM, in MiB, without what the allocator keeps for later.

    glibc keeps up to a hundred MiB of free memory, by rules of its own: that changes from one moment to the next.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def ask_from_threads(scorer: SharedScorer, requests: int, seed: int) -> int:
    """Send requests from eight threads; give the number of logits."""

    def ask(number: int) -> int:
        pairs = mixed_request(seed * 1_000_003 + number)
        return len(scorer.score(pairs, priority="bulk" if number % 4 == 0 else "interactive"))

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(ask, range(requests)))


def ask_from_tasks(scorer: SharedScorer, requests: int, seed: int) -> int:
    """Send requests from sixteen tasks at a time, and cancel every tenth; give the number of logits."""

    async def ask(room: asyncio.Semaphore, number: int) -> int:
        async with room:
            task = asyncio.ensure_future(scorer.ascore(mixed_request(seed * 1_000_003 + number)))
            if number % 10 == 0:
                await asyncio.sleep(0.005)  # so that most of them are in the queue
                task.cancel()
            answer = (await asyncio.gather(task, return_exceptions=True))[0]
        return len(answer) if isinstance(answer, list) else 0

    async def ask_all() -> int:
        room = asyncio.Semaphore(16)
        return sum(await asyncio.gather(*(ask(room, number) for number in range(requests))))

    return asyncio.run(ask_all())


def soak(settings: ModelSettings, requests: int) -> dict[str, Any]:
    """Send as many mixed requests for a warm-up, then in rounds, and watch the resident memory.

    The warm-up fills the cache of tokens (32 MiB) and meets every size of batch that oneDNN prepares its products for.
    """
    scorer = shared_scorer(settings)
    warming, _ = _rounds(scorer, requests, first=0)
    start = perf_counter()
    resident, pairs = _rounds(scorer, requests, first=_ROUNDS)
    seconds = perf_counter() - start
    snapshot = scorer.snapshot()
    scorer.close()
    if snapshot is None:
        raise RuntimeError("the scorer was closed during the soak")
    return {
        "requests": requests // _ROUNDS * _ROUNDS,
        "pairs": pairs,
        "seconds": round(seconds, 1),
        "pairs_per_second": round(pairs / seconds, 1),
        "efficiency": round(snapshot.efficiency, 4),
        "shared_pairs": snapshot.shared_pairs,
        "cancelled_pairs": snapshot.cancelled_pairs,
        "waiting_at_the_end": snapshot.waiting_pairs,
        "resident_mib_in_the_warm_up": warming,
        "resident_mib": resident,
        "growth": round(max(resident[-2:]) / warming[-1] - 1, 4),
        "limit": 0.02,
    }


def _rounds(scorer: SharedScorer, requests: int, *, first: int) -> tuple[list[float], int]:
    """Send requests in rounds; give the resident memory after each in MiB, and the number of logits."""
    resident, pairs = [], 0
    for number in range(first, first + _ROUNDS):
        ask = ask_from_tasks if number % 2 else ask_from_threads
        pairs += ask(scorer, requests // _ROUNDS, number)
        resident.append(round(resident_mib(), 1))
    return resident, pairs


def peak_mib(settings: ModelSettings, candidates: int) -> float:
    """Score one request of so many candidates in this process, and give its peak of resident memory in MiB."""
    draw = np.random.default_rng(7)
    pairs = [(QUESTION, passage(draw, 60)) for _ in range(candidates)]
    scorer = shared_scorer(settings)
    scorer.score(pairs)
    scorer.close()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def large_request(model: str) -> dict[str, Any]:
    """Compare the peak memory of a request of 1,000 candidates with one of 100, each in its own process."""
    peaks: dict[int, float] = {}
    for candidates in (100, 1000):
        command = [sys.executable, "-m", "benchmarks.stress", "--peak-of", str(candidates), "--model", model]
        done = subprocess.run(  # noqa: S603 -- this module
            command, capture_output=True, text=True, check=True, timeout=1800
        )
        peaks[candidates] = float(done.stdout.split()[-1])
    growth = peaks[1000] / peaks[100] - 1
    return {"peak_mib": {str(n): round(one, 1) for n, one in peaks.items()}, "growth": round(growth, 4), "limit": 0.1}


class NoModel:
    """Costs nothing, so that what is measured is the scorer."""

    pads = False
    depth = 1

    def encode(self, pairs: Sequence[tuple[str, str]]) -> list[EncodedPair]:
        """Give a pair of a hundred tokens each time."""
        return [EncodedPair([0] * 100, [], truncated=False) for _ in pairs]

    def launch(self, batch: Sequence[EncodedPair]) -> Callable[[], list[float]]:
        """Give zeros."""
        return lambda: [0.0] * len(batch)


def overhead(calls: int = 2000) -> dict[str, Any]:
    """Measure an idle scorer around a model that costs nothing, and the planning of one batch among 64 requests."""
    pairs, seconds = [(QUESTION, f"passage {n}") for n in range(20)], []
    engine = NoModel()
    with BatchingScorer(engine) as scorer:
        for _ in range(calls):
            start = perf_counter()
            engine.launch(engine.encode(pairs))()
            bare = perf_counter() - start
            start = perf_counter()
            scorer.score(pairs)
            seconds.append(perf_counter() - start - bare)
    return {
        "idle_request_of_20_ms": _quantiles(seconds),
        "limit_ms": 1.0,
        "take_batch_ms": {f"pads={pads}": _quantiles(_plan(pads=pads)) for pads in (True, False)},
    }


def _plan(*, pads: bool) -> list[float]:
    draw, seconds = np.random.default_rng(1), []
    for _ in range(20):
        schedule = Schedule()
        for number in range(64):
            lengths = [min(512, round(draw.lognormal(4.377, 0.496)) + 8) for _ in range(40)]
            encoded = [EncodedPair([0] * length, [], truncated=False) for length in lengths]
            schedule.add(Request([(str(number), str(n)) for n in range(40)], encoded))
        batch = True
        while batch:
            start = perf_counter()
            batch = bool(schedule.take_batch(Limits(4096, None, pads)))
            seconds.append(perf_counter() - start)
    return seconds


def _quantiles(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return {"median": round(cuts[49] * 1e3, 4), "p99": round(cuts[98] * 1e3, 4)}


def main() -> None:
    """Run the parts that are asked for, print the result and write it."""
    parser = argparse.ArgumentParser(description="Soak the shared scorer and watch its memory.")
    parser.add_argument("--model", default="embedded", help="'embedded', a random model of benchmarks.models, a folder")
    parser.add_argument("--requests", type=int, default=10_000, help="requests of the soak")
    parser.add_argument("--parts", nargs="+", default=["overhead", "memory", "soak"])
    parser.add_argument("--output", type=Path, help="where to write the result as JSON")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = checkpoint(options.model)
    settings = ModelSettings(model=str(folder), device="cpu")
    if options.peak_of:
        sys.stdout.write(f"{peak_mib(settings, options.peak_of)}\n")
        return
    parts = {
        "overhead": overhead,
        "memory": lambda: large_request(str(folder)),
        "soak": lambda: soak(settings, options.requests),
    }
    result = provenance([]) | {"machine": machine("cpu"), "model": options.model}
    result["command"] = shlex.join(["python", "-m", "benchmarks.stress", *sys.argv[1:]])
    result["batch"] = repr(BatchSettings().for_device("cpu"))
    for name in options.parts:
        result[name] = parts[name]()
        say(json.dumps({name: result[name]}, indent=2))
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
