"""Interleaved rounds: A, B, C, A, B, C, … with everything that was timed kept."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np


class Spread(NamedTuple):
    """Median and interquartile range of the rounds."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One contender, one workload, once.

    :param seconds: Wall time of all requests.
    :param latencies: Seconds of each request, where they were timed apart.
    :param load: Load average of the machine over the minute before: what else was running.
    """

    workload: str
    contender: str
    number: int
    seconds: float
    pairs: int
    tokens: int
    latencies: list[float] = field(default_factory=list)
    load: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Give the round for the result file."""
        return asdict(self)


class Timed(NamedTuple):
    """Seconds of a whole workload and of each of its requests; the logits where they were kept."""

    seconds: float
    latencies: list[float]
    logits: list[float]


def one_after_another(
    score: Callable[[Sequence[tuple[str, str]]], list[float]], requests: Sequence[Sequence[tuple[str, str]]]
) -> Timed:
    """Time requests of one caller, each sent when the one before is answered."""
    latencies: list[float] = []
    logits: list[float] = []
    start = perf_counter()
    for request in requests:
        sent = perf_counter()
        logits += score(request)
        latencies.append(perf_counter() - sent)
    return Timed(perf_counter() - start, latencies, logits)


def interleaved(
    tasks: Mapping[str, Callable[[int], Timed]], *, rounds: int, on_error: Callable[[str, Exception], None]
) -> Iterator[tuple[int, str, Timed, float]]:
    """Yield the number of the round, the task's name, its times and the load average before.

    A task gets the number of the round, so that all may ask something new in each.
    A task that fails is told to `on_error` and left out of the later rounds.
    """
    failed: set[str] = set()
    for number in range(rounds):
        for name, task in tasks.items():
            if name in failed:
                continue
            load = os.getloadavg()[0]
            try:
                timed = task(number)
            except Exception as error:  # noqa: BLE001 -- a peer may fail in any way; the others go on
                failed.add(name)
                on_error(name, error)
                continue
            yield number, name, timed, load


def spread(values: Sequence[float]) -> Spread:
    """Give the median and the quartiles (linear interpolation) of at least one value."""
    low, high = np.percentile(values, [25, 75])
    return Spread(statistics.median(values), float(low), float(high))


def seconds_of(call: Callable[[], object], *, times: int = 2) -> float:
    """Give the median seconds of a call, after one that is not counted."""
    call()
    spent = []
    for _ in range(times):
        start = perf_counter()
        call()
        spent.append(perf_counter() - start)
    return statistics.median(spent)
