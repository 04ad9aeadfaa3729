"""W4 and what it must show: many callers of one model, and a short request behind a long one."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator, Mapping
from functools import partial
from time import perf_counter
from typing import Any, Final

from benchmarks.concurrency import by_tasks, by_threads
from benchmarks.contenders import Asynchronous, Contender, Scoring
from benchmarks.ours import Ours
from benchmarks.rounds import Timed, one_after_another
from benchmarks.session import Session, Task, say
from benchmarks.throughput import warm_up
from benchmarks.workloads import PASSAGES_PER_REQUEST, Workload

BULK: Final = "W4 bulk"
_SHORT: Final = 10
_WAIT: Final = 0.002
_BATCHES_TIMED: Final = 5


def run(session: Session) -> None:
    """Measure shared models, interleaved; ours also as tasks, alone, and with the same pairs in one call."""
    with session.opened(session.contenders("many")) as live:
        warm_up(live, session.workloads.bulk(24).pairs)
        for passages in session.sizes.passages:
            build = partial(session.workloads.k20, session.sizes.w4, passages=passages)
            session.measure(build, list(_tasks(session, live, passages)))
        for contender, scoring in live.items():
            if isinstance(scoring, Ours):
                found = [asyncio.run(_behind_a_long_one(scoring, session)) for _ in range(session.rounds)]
                session.findings.setdefault("late_request", {})[contender.name] = {
                    "rounds": found,
                    "batch_times": statistics.median(one["seconds"] / one["batch_seconds"] for one in found),
                }
                say(f"a short request behind a long one: {session.findings['late_request'][contender.name]}")
    session.save()


def _tasks(session: Session, live: Mapping[Contender, Scoring], passages: int) -> Iterator[Task]:
    *others, most = session.sizes.callers
    first = next((one for one in live if one.is_ours), None)
    for one, scoring in live.items():
        if not isinstance(scoring, Ours):
            yield Task(name_of(most, passages), one, partial(_concurrent, scoring, most))
            continue
        yield Task(_suffixed(BULK, passages), one, partial(_in_one_call, scoring))
        yield Task(name_of(most, passages), one, partial(_threads, scoring, most))
        yield Task(name_of(most, passages, "tasks"), one, partial(_as_tasks, scoring, most))
        for callers in others if one is first else ():
            yield Task(name_of(callers, passages), one, partial(_threads, scoring, callers))


def name_of(callers: int, passages: int = PASSAGES_PER_REQUEST, kind: str = "threads") -> str:
    """Name a workload of W4."""
    return _suffixed(f"W4 {callers} {kind}", passages)


def _suffixed(name: str, passages: int) -> str:
    return name if passages == PASSAGES_PER_REQUEST else f"{name} k{passages}"


def _concurrent(scoring: Scoring, callers: int, asked: Workload) -> Timed:
    """Score with threads, or with tasks if the peer is made for an event loop."""
    if isinstance(scoring, Asynchronous):
        return by_tasks(scoring.ascore, asked.requests, callers)
    return by_threads(scoring.score, asked.requests, callers)


def _threads(scoring: Ours, callers: int, asked: Workload) -> Timed:
    return by_threads(scoring.score, asked.requests, callers)


def _as_tasks(scoring: Ours, callers: int, asked: Workload) -> Timed:
    return by_tasks(scoring.ascore, asked.requests, callers)


def _in_one_call(scoring: Ours, asked: Workload) -> Timed:
    return one_after_another(scoring.score, [asked.pairs])


async def _behind_a_long_one(scoring: Ours, session: Session) -> dict[str, Any]:
    """Send 10 pairs while 1,000 of another caller are being scored; compare the wait with the long one's batches."""
    long = asyncio.create_task(scoring.ascore(session.workloads.bulk(session.sizes.long_bulk).pairs))
    short = session.workloads.one(_SHORT).pairs
    warm = await _batches_reach(scoring, scoring.snapshot().batches + 2, long)
    start = perf_counter()
    timed = await _batches_reach(scoring, warm + _BATCHES_TIMED, long)
    batch_seconds = (perf_counter() - start) / max(1, timed - warm)
    sent = perf_counter()
    await scoring.ascore(short)
    seconds = perf_counter() - sent
    was_beside = not long.done()
    long.cancel()
    await asyncio.gather(long, return_exceptions=True)
    return {"seconds": seconds, "batch_seconds": batch_seconds, "long_one_still_ran": was_beside}


async def _batches_reach(scoring: Ours, count: int, long: asyncio.Task[object]) -> int:
    while (batches := scoring.snapshot().batches) < count and not long.done():
        await asyncio.sleep(_WAIT)
    return batches
