"""W5 and W6: requests that come when they come, whether or not the last one is answered."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Mapping
from time import perf_counter
from typing import Any, Final

import numpy as np

from benchmarks.contenders import Contender
from benchmarks.ours import Ours
from benchmarks.rounds import one_after_another
from benchmarks.session import Session, say
from benchmarks.sharing import name_of
from benchmarks.throughput import warm_up
from benchmarks.workloads import PASSAGES_PER_REQUEST, Workload

LOADS: Final = (0.3, 0.6, 0.8, 0.95)
_BULK_SHARE_LOAD: Final = 0.3
_SEED: Final = 5


def run(session: Session) -> None:
    """Measure the first variant of ours that loads, at shares of the speed that W4 reached."""
    with session.opened([one for one in session.contenders("many") if one.is_ours][:1]) as live:
        for contender, scoring in live.items():
            if isinstance(scoring, Ours):
                warm_up({contender: scoring}, session.workloads.bulk(24).pairs)
                _measure(session, contender, scoring)
    session.save()


def _measure(session: Session, contender: Contender, scoring: Ours) -> None:
    capacity = _capacity(session, contender, scoring)
    found: dict[str, Any] = {"contender": contender.name, "capacity_pairs_per_second": capacity, "loads": {}}
    session.findings["load"] = found
    for load in LOADS:
        rate = load * capacity / PASSAGES_PER_REQUEST
        latencies = asyncio.run(open_loop(scoring, _requests(session, rate), rate))
        found["loads"][f"{load:.0%}"] = percentiles(latencies)
        say(f"W5 {load:.0%}: {found['loads'][f'{load:.0%}']}")
        session.save()
    found["beside_bulk"] = asyncio.run(_beside_bulk(session, scoring, capacity))
    say(f"W6: {found['beside_bulk']}")


def _capacity(session: Session, contender: Contender, scoring: Ours) -> float:
    """Give the pairs per second of W4 in this run, or measure one round of it."""
    name = name_of(session.sizes.callers[-1])
    rounds = [
        one["pairs"] / one["seconds"]
        for one in session.findings.get("rounds", [])
        if one["workload"] == name and one["contender"] == contender.name
    ]
    if rounds:
        return statistics.median(rounds)
    asked = session.workloads.k20(session.sizes.w4)
    return len(asked.pairs) / one_after_another(scoring.score, [asked.pairs]).seconds


def _requests(session: Session, rate: float) -> Workload:
    return session.workloads.k20(max(3, round(rate * session.sizes.seconds)), name="W5")


async def open_loop(scoring: Ours, asked: Workload, rate: float) -> list[float]:
    """Send requests at Poisson times and give the seconds from when each was due to its answer.

    :param rate: Requests per second.
    """
    loop = asyncio.get_running_loop()
    gaps = np.random.default_rng(_SEED).exponential(1 / rate, len(asked.requests))
    start = loop.time()
    due = [start + float(at) for at in np.cumsum(gaps)]

    async def one(at: float, request: Any) -> float:  # noqa: ANN401 -- pairs
        await asyncio.sleep(max(0.0, at - loop.time()))
        await scoring.ascore(request)
        return loop.time() - at

    return list(await asyncio.gather(*(one(at, request) for at, request in zip(due, asked.requests, strict=True))))


async def _beside_bulk(session: Session, scoring: Ours, capacity: float) -> dict[str, Any]:
    """Run bulk jobs of W1 all the time and interactive requests at 30 % of the capacity (W6)."""
    rate = _BULK_SHARE_LOAD * capacity / PASSAGES_PER_REQUEST
    asked = _requests(session, rate)
    stop = asyncio.Event()
    bulk = asyncio.create_task(_bulk_until(stop, session, scoring))
    before, start = scoring.snapshot(), perf_counter()
    latencies = await open_loop(scoring, asked, rate)
    seconds, after = perf_counter() - start, scoring.snapshot()
    stop.set()
    bulk.cancel()
    await asyncio.gather(bulk, return_exceptions=True)
    bulk_rate = (after.pairs - before.pairs - len(asked.lengths)) / seconds
    return {
        **percentiles(latencies),
        "bulk_pairs_per_second": bulk_rate,
        "bulk_share_of_what_is_left": bulk_rate / (capacity * (1 - _BULK_SHARE_LOAD)),
    }


async def _bulk_until(stop: asyncio.Event, session: Session, scoring: Ours) -> None:
    pairs = session.workloads.w1().pairs
    while not stop.is_set():
        await scoring.scorer.ascore(pairs, priority="bulk")


def percentiles(latencies: list[float]) -> Mapping[str, float]:
    """Give what a service is judged by, in seconds."""
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99])
    return {"requests": len(latencies), "p50": float(p50), "p95": float(p95), "p99": float(p99), "max": max(latencies)}
