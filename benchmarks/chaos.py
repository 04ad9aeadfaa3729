"""W9: callers that leave, pairs that cannot be read, memory that runs out, and a thread that holds the GIL."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from time import perf_counter
from typing import Any, Final

import numpy as np

from benchmarks.faulty_engine import POISON, FaultyEngine
from benchmarks.session import Session, say
from fr_reranker_plugin.errors import ScoringError
from fr_reranker_plugin.scoring.batching import BatchingScorer
from fr_reranker_plugin.scoring.cross_encoder import CrossEncoder
from fr_reranker_plugin.scoring.settings import BatchSettings, ModelSettings

_CANCELLED: Final = 0.2
_POISONED: Final = 0.01
_MEMORY_EVERY: Final = 100
_CALLERS: Final = 16
_PASSAGES: Final = 5
_BATCH_TOKENS: Final = 256
_SHARE_UNDER_THE_HOG: Final = 5
_PATIENCE: Final = 600.0
_TOLERANCE: Final = 1e-3
_SEED: Final = 9

Pair = tuple[str, str]


def run(session: Session) -> None:
    """Score the same requests in peace and in chaos, without and with the thread that holds the GIL."""
    settings = ModelSettings(model=str(session.folder), device=session.device, dtype="float32")
    lengths = np.random.default_rng(_SEED).integers(20, 60, (session.sizes.w9, _PASSAGES))
    requests = [session.workloads.request(row.tolist()) for row in lengths]
    engine = CrossEncoder.load(settings)
    batch = BatchSettings(max_batch_tokens=_BATCH_TOKENS)
    with BatchingScorer(engine, batch) as scorer:
        asyncio.run(_all_callers(scorer, requests[:_CALLERS], Chaos(len(requests), quiet=True)))
        peace = asyncio.run(_all_callers(scorer, requests, Chaos(len(requests), quiet=True)))
    some = requests[: max(_CALLERS, len(requests) // _SHARE_UNDER_THE_HOG)]
    for name, asked, hog in (("faults", requests, nullcontext()), ("faults and GIL hog", some, holding_the_gil())):
        chaos = Chaos(len(asked))
        faulty = FaultyEngine(engine, memory_every=session.sizes.memory_fails_every)
        with BatchingScorer(faulty, batch) as scorer, hog:
            storm = asyncio.run(_all_callers(scorer, asked, chaos))
            left_waiting = scorer.snapshot().waiting_pairs
        session.findings.setdefault("chaos", {})[name] = _findings(peace, storm, chaos) | {
            "requests": len(asked),
            "pairs_per_request": _PASSAGES,
            "max_batch_tokens": _BATCH_TOKENS,
            "injected_out_of_memory": faulty.out_of_memory,
            "batches_with_a_poisoned_pair": faulty.poisoned,
            "left_waiting": left_waiting,
        }
        say(f"W9 {name}: {session.findings['chaos'][name]}")
    session.save()


class Chaos:
    """Which requests are poisoned and which are cancelled; seeded."""

    def __init__(self, requests: int, *, quiet: bool = False) -> None:
        random = np.random.default_rng(_SEED)
        self.requests = requests
        share = 0.0 if quiet else 1.0
        self.cancelled = set(np.flatnonzero(random.random(requests) < _CANCELLED * share).tolist())
        poisoned = set(np.flatnonzero(random.random(requests) < _POISONED * _PASSAGES * share).tolist())
        self.poisoned = poisoned - self.cancelled

    def request(self, number: int, pairs: Sequence[Pair]) -> list[Pair]:
        """Give the request as it is sent."""
        if number not in self.poisoned:
            return list(pairs)
        return [*pairs[:-1], (pairs[-1][0], f"{POISON} {number} {pairs[-1][1]}")]


class Answers:
    """What each request got, and how long all took."""

    def __init__(self) -> None:
        self.logits: dict[int, list[float]] = {}
        self.errors: dict[int, str] = {}
        self.seconds = 0.0


async def _all_callers(scorer: BatchingScorer, requests: Sequence[Sequence[Pair]], chaos: Chaos) -> Answers:
    answers, waiting = Answers(), iter(enumerate(requests))
    patience = np.random.default_rng(_SEED).uniform(0.0, 0.2, len(requests))

    async def caller() -> None:
        for number, pairs in waiting:
            task = asyncio.create_task(scorer.ascore(chaos.request(number, pairs)))
            if number in chaos.cancelled:
                await asyncio.wait([task], timeout=float(patience[number]))
                task.cancel()
            try:
                answers.logits[number] = await asyncio.wait_for(task, _PATIENCE)
            except TimeoutError:
                answers.errors[number] = "hung"
            except asyncio.CancelledError:
                answers.errors[number] = "cancelled"
            except ScoringError:
                answers.errors[number] = "scoring error"
            except Exception as error:  # noqa: BLE001 -- what must not happen is counted
                answers.errors[number] = type(error).__name__

    start = perf_counter()
    await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    answers.seconds = perf_counter() - start
    return answers


def _findings(peace: Answers, storm: Answers, chaos: Chaos) -> dict[str, Any]:
    """Count what went wrong for whom; an innocent is neither poisoned nor cancelled."""
    answered = storm.logits.keys() | storm.errors.keys()
    innocent = [n for n in range(chaos.requests) if n not in chaos.poisoned | chaos.cancelled]
    wrong = [
        n for n in storm.logits.keys() - chaos.poisoned
        if not np.allclose(storm.logits[n], peace.logits[n], atol=_TOLERANCE)
    ]  # fmt: skip
    rates = [sum(map(len, one.logits.values())) / one.seconds for one in (peace, storm)]
    return {
        "pairs_per_second_in_peace": rates[0],
        "pairs_per_second_in_chaos": rates[1],
        "throughput_loss": 1 - rates[1] / rates[0],
        "seconds": storm.seconds,
        "cancelled": len(chaos.cancelled),
        "poisoned": len(chaos.poisoned),
        "outcomes": dict(Counter(storm.errors.values())) | {"answered": len(storm.logits)},
        "unanswered": chaos.requests - len(answered),
        "hung": sum(error == "hung" for error in storm.errors.values()),
        "innocent_failed": sum(n not in storm.logits for n in innocent),
        "poisoned_without_scoring_error": sum(storm.errors.get(n) != "scoring error" for n in chaos.poisoned),
        "wrong_logits": len(wrong),
    }


@contextmanager
def holding_the_gil() -> Iterator[None]:
    """Run a thread that computes in pure Python all the time."""
    stop = threading.Event()

    def hog() -> None:
        number = 1
        while not stop.is_set():
            for _ in range(10_000):
                number = number * 3 % 1_000_003

    thread = threading.Thread(target=hog, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
