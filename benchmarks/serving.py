"""The server under load, on loopback: `python -m benchmarks.serving`.

A server in a process of its own, with the embedded cross-encoder; its clients share the processors with it. Every
request has twenty passages of the sample collection, with a number that makes them new. Four parts: what HTTP adds to
one request, an open loop at 80 % and at 200 % of what the server can do, and clients that hang up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple

import httpx

from benchmarks.machine import machine, provenance
from benchmarks.session import say
from fr_reranker_plugin.collections import open_collection

RESULT: Final = Path(__file__).parent / "results" / "serving.json"
LIMITS: Final = {
    "overhead_ms": 3.0,
    "goodput_at_200_percent": 0.9,
    "slowest_health_ms": 100.0,
    "pairs_of_those_who_left_never_scored": 0.8,
}
_TEXTS: Final = 20
_SHORT: Final = 80
_WARM_UP: Final = 20
_SCORING: Final = 'fr_reranker_scoring_seconds_sum{priority="interactive"}'
_CALLERS: Final = 8
_LEAVE_AFTER: Final = 0.5
_LEAVING: Final = 20
_HEALTH_EVERY: Final = 0.25
_PATIENCE: Final = 300.0


class Answer(NamedTuple):
    """What became of one request: the status, and the seconds it took."""

    status: int
    seconds: float


class Requests:
    """Bodies of `POST /rerank` that never come again, so that nothing is answered from what was computed."""

    def __init__(self) -> None:
        collection = open_collection("sample")
        self._queries = list(collection.queries.values())
        self._passages = [passage.full_text for _, passage in collection.passages()]
        self._number = count()

    def body(self, longest: int | None = None) -> dict[str, Any]:
        """Give the next one.

        :param longest: Characters of a passage that are kept; `None`: all.
        """
        number = next(self._number)
        draw = random.Random(number)  # noqa: S311 -- which passages
        texts = [f"{text[:longest]} ({number})" for text in draw.sample(self._passages, _TEXTS)]
        return {"query": draw.choice(self._queries), "texts": texts}


@contextmanager
def server(*options: str) -> Iterator[str]:
    """Start a server with the embedded model; gives its address once it is ready."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = str(Path(sys.executable).with_name("fr-reranker"))
    command = [program, "serve", "--port", str(port), *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: S603 -- this package
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    end = perf_counter() + _PATIENCE
    while perf_counter() < end and process.poll() is None:
        try:
            if httpx.get(f"{url}/ready", timeout=_PATIENCE).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
    raise RuntimeError(f"the server did not get ready (exit code {process.poll()})")


def overhead(url: str, requests: Requests, calls: int) -> dict[str, Any]:
    """Time short requests, one after the other, and take off what the server's scorer needed for each.

    That is the time of the same call in process: from the pairs of a request to its logits, as `/metrics` tells it.
    """
    seconds: dict[str, list[float]] = {"http": [], "scorer": []}
    with httpx.Client(base_url=url, timeout=_PATIENCE) as client:
        for _ in range(calls + _WARM_UP):
            body, before = requests.body(_SHORT), _metric(client.get("/metrics").text, _SCORING)
            start = perf_counter()
            client.post("/rerank", json=body).raise_for_status()
            seconds["http"].append(perf_counter() - start)
            seconds["scorer"].append(_metric(client.get("/metrics").text, _SCORING) - before)
    measured = {name: found[_WARM_UP:] for name, found in seconds.items()}
    added = [(whole - part) * 1e3 for whole, part in zip(*measured.values(), strict=True)]
    return {
        "calls": calls,
        "median_ms": {name: round(statistics.median(found) * 1e3, 2) for name, found in measured.items()},
        "overhead_ms": round(statistics.median(added), 2),
        "quartiles_ms": [round(one, 2) for one in statistics.quantiles(added)],
    }


def _metric(page: str, name: str) -> float:
    return float(next(line for line in page.splitlines() if line.startswith(name)).split()[-1])


async def _ask(client: httpx.AsyncClient, body: dict[str, Any]) -> Answer:
    start = perf_counter()
    response = await client.post("/rerank", json=body)
    return Answer(response.status_code, perf_counter() - start)


async def capacity(url: str, requests: Requests, seconds: float) -> float:
    """Give the requests per second that eight callers get who ask again as soon as they are answered."""
    end = perf_counter() + seconds

    async def caller(client: httpx.AsyncClient) -> int:
        done = 0
        while perf_counter() < end:
            done += (await _ask(client, requests.body())).status == httpx.codes.OK
        return done

    start = perf_counter()
    async with _client(url) as client:
        done = sum(await asyncio.gather(*(caller(client) for _ in range(_CALLERS))))
    return done / (perf_counter() - start)


async def open_loop(url: str, requests: Requests, rate: float, seconds: float) -> dict[str, Any]:
    """Send requests at random times, whatever becomes of those before, and ask for `/health` all the while."""
    draw, start = random.Random(7), perf_counter()  # noqa: S311 -- arrival times
    under_way: list[asyncio.Task[Answer]] = []
    async with _client(url) as client, _client(url) as prober:
        probe = asyncio.create_task(_health(prober, start + seconds))
        due = start
        while (due := due + draw.expovariate(rate)) < start + seconds:
            await asyncio.sleep(max(0.0, due - perf_counter()))
            under_way.append(asyncio.create_task(_ask(client, requests.body())))
        in_time = [task.result() for task in under_way if task.done()]
        answers = await asyncio.gather(*under_way)
        health = await probe
    kept = [answer.seconds for answer in answers if answer.status == httpx.codes.OK]
    return {
        "requests": len(answers),
        "seconds": seconds,
        "statuses": dict(Counter(answer.status for answer in answers)),
        "answered_per_second": round(sum(one.status == httpx.codes.OK for one in in_time) / seconds, 3),
        "seconds_of_an_answer": {"median": round(statistics.median(kept), 3), "p99": round(_p99(kept), 3)},
        "slowest_health_ms": round(max(health) * 1e3, 1),
    }


async def _health(client: httpx.AsyncClient, end: float) -> list[float]:
    found = []
    while perf_counter() < end:
        start = perf_counter()
        (await client.get("/health")).raise_for_status()
        found.append(perf_counter() - start)
        await asyncio.sleep(_HEALTH_EVERY)
    return found


async def hang_up(url: str, requests: Requests) -> dict[str, Any]:
    """Let many clients ask at once and leave soon after; count what was scored for them all the same."""
    before = await _scored(url)
    async with _client(url) as client:
        asked = [asyncio.create_task(_ask(client, requests.body())) for _ in range(_LEAVING)]
        done, left = await asyncio.wait(asked, timeout=_LEAVE_AFTER)
        for task in left:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    answered = sum(task.result().status == httpx.codes.OK for task in done) * _TEXTS
    async with _client(url) as client:
        await _ask(client, requests.body())  # comes after whatever was being scored
    scored = await _scored(url) - before - _TEXTS - answered
    return {
        "clients": len(left),
        "pairs": len(left) * _TEXTS,
        "scored_all_the_same": scored,
        "never_scored": round(1 - scored / (len(left) * _TEXTS), 4),
    }


async def _scored(url: str) -> int:
    async with _client(url) as client:
        return int(_metric((await client.get("/metrics")).text, "fr_reranker_pairs_total"))


def _client(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=_CALLERS)
    return httpx.AsyncClient(base_url=url, timeout=_PATIENCE, limits=limits)


def _p99(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


def measured(url: str, *, calls: int, seconds: float) -> dict[str, Any]:
    """Run all parts on one server."""
    requests = Requests()
    found: dict[str, Any] = {"overhead": overhead(url, requests, calls)}
    say(json.dumps(found))
    most = asyncio.run(capacity(url, requests, seconds / 2))
    found["capacity_requests_per_second"] = round(most, 3)
    for share in (0.8, 2.0):
        name = f"open_loop_at_{share:.0%}".replace("%", "_percent")
        found[name] = asyncio.run(open_loop(url, requests, share * most, seconds))
        say(json.dumps({name: found[name]}))
    found["goodput_at_200_percent"] = round(found["open_loop_at_200_percent"]["answered_per_second"] / most, 3)
    found["hang_up"] = asyncio.run(hang_up(url, requests))
    say(json.dumps(found["hang_up"]))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write the result file; 1 if a limit is missed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--calls", type=int, default=200, help="requests of which the time HTTP adds is taken")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each open loop")
    parser.add_argument("--max-waiting-pairs", default="400", help="what the server lets wait")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    with server("--max-waiting-pairs", options.max_waiting_pairs) as url:
        found = measured(url, calls=options.calls, seconds=options.seconds)
    overloaded, calm = found["open_loop_at_200_percent"], found["open_loop_at_80_percent"]
    met = {
        "overhead_ms": found["overhead"]["overhead_ms"] < LIMITS["overhead_ms"],
        "no_error_at_80_percent": set(calm["statuses"]) == {int(httpx.codes.OK)},
        "only_429_beside_answers": set(overloaded["statuses"]) == {200, 429},
        "goodput_at_200_percent": found["goodput_at_200_percent"] >= LIMITS["goodput_at_200_percent"],
        "slowest_health_ms": max(one["slowest_health_ms"] for one in (overloaded, calm)) < LIMITS["slowest_health_ms"],
        "pairs_of_those_who_left_never_scored": found["hang_up"]["never_scored"]
        > LIMITS["pairs_of_those_who_left_never_scored"],
    }
    findings = provenance(arguments, module="benchmarks.serving") | {"machine": machine("cpu"), "limits": LIMITS}
    findings |= found | {"met": met}
    options.out.write_text(json.dumps(findings, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    say(json.dumps(met))
    return int(not all(met.values()))


if __name__ == "__main__":
    sys.exit(main())
