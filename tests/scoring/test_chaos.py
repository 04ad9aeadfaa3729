import asyncio
import math
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from engines import TIMEOUT, LengthEngine, wait_until
from fr_reranker_plugin import BatchingScorer, BatchSettings, DeadlineExceededError, OverloadedError, ScoringError

THREADS, LOOPS, CALLS = 8, 4, 100


class Hostile(LengthEngine):
    """Runs out of memory every hundred batches, cannot read poison, and gives no number for some of it."""

    def __init__(self, *, pads, depth):
        super().__init__()
        self.pads = pads
        self.depth = depth
        self.launches_since_failure = 0

    def encode(self, pairs):
        assert all(isinstance(text, str) for pair in pairs for text in pair)
        return super().encode(pairs)

    def launch(self, batch):
        self.launches_since_failure += 1
        passages = ["".join(map(chr, pair.token_ids)) for pair in batch]
        if self.launches_since_failure >= 100 and len(batch) > 1:  # a batch that can be split
            self.launches_since_failure = 0
            raise MemoryError("injected")
        if any("poison" in passage for passage in passages):
            raise ValueError("poison")
        logits = [math.nan if "nan" in passage else float(len(passage)) for passage in passages]
        return lambda: logits


def request(draw):
    """Give pairs, and whether they must fail."""
    passages = ["x" * min(400, round(draw.lognormvariate(3.5, 0.7)) + 1) for _ in range(draw.choice([1, 3, 10, 40]))]
    bad = draw.random() < 0.01 * len(passages)
    if bad:
        passages[draw.randrange(len(passages))] = draw.choice(["poison", "nan"]) + "y" * draw.randrange(20)
    return [(f"question {draw.randrange(300)}", passage) for passage in passages], bad


def is_right(pairs, bad, answer):
    if bad:
        return isinstance(answer, ScoringError)
    return answer == [float(len(passage)) for _, passage in pairs]


def threads_turn(scorer, seed, barrier):
    """Ask as a thread does; every fifth call gives up early."""
    draw = random.Random(seed)
    barrier.wait(TIMEOUT)
    wrong = []
    for call in range(CALLS):
        pairs, bad = request(draw)
        hasty = draw.random() < 0.2
        priority = draw.choice(["interactive", "bulk"])
        try:
            answer = scorer.score(pairs, timeout=draw.random() * 0.01 if hasty else TIMEOUT, priority=priority)
        except (ScoringError, OverloadedError) as error:
            answer = error
        except DeadlineExceededError as error:
            answer = None if hasty else error
        if answer is not None and not is_right(pairs, bad, answer):
            wrong.append((seed, call, bad, answer))
    return wrong


async def tasks_turn(scorer, seed):
    """Ask as many tasks do; a fifth is cancelled."""
    draw = random.Random(seed)
    asked = []
    for _ in range(CALLS):
        pairs, bad = request(draw)
        task = asyncio.ensure_future(scorer.ascore(pairs, priority=draw.choice(["interactive", "bulk"])))
        asked.append((pairs, bad, task))
        if draw.random() < 0.3:
            await asyncio.sleep(0)
        if draw.random() < 0.2:
            draw.choice(asked)[2].cancel()
    answers = await asyncio.wait_for(asyncio.gather(*(task for *_, task in asked), return_exceptions=True), TIMEOUT)
    return [
        (seed, bad, answer)
        for (pairs, bad, task), answer in zip(asked, answers, strict=True)
        if not task.cancelled() and not is_right(pairs, bad, answer)
    ]


def hog(stop):
    """Keep the interpreter's lock as a busy Python thread does."""
    while not stop.is_set():
        sum(number * number for number in range(20_000))


@pytest.mark.parametrize(("pads", "depth", "engines"), [(True, 1, 1), (False, 2, 1), (False, 2, 2)])
def test_in_chaos_nothing_hangs_and_nobody_fails_for_another(pads, depth, engines, caplog):
    caplog.set_level("CRITICAL")
    hostile = [Hostile(pads=pads, depth=depth) for _ in range(engines)]
    settings = BatchSettings(max_batch_tokens=1024, max_slice_pairs=16)
    stop, barrier = threading.Event(), threading.Barrier(THREADS)
    with ThreadPoolExecutor(THREADS + LOOPS + 1) as pool, BatchingScorer(hostile, settings) as scorer:
        pool.submit(hog, stop)
        try:
            threads = [pool.submit(threads_turn, scorer, seed, barrier) for seed in range(THREADS)]
            loops = [pool.submit(lambda seed: asyncio.run(tasks_turn(scorer, seed)), 100 + n) for n in range(LOOPS)]
            wrong = [one for future in threads + loops for one in future.result(2 * TIMEOUT)]
        finally:
            stop.set()
        assert wrong == []
        wait_until(lambda: not scorer._queue._known)  # what was cancelled may still be computed
        counts = scorer.snapshot()
        assert (counts.waiting_pairs, counts.waiting_tokens) == (0, 0)
        assert scorer.health().engines_alive == engines
    assert counts.oom_splits > 0
    assert counts.failed_pairs > 0
    assert counts.cancelled_pairs > 0
    assert counts.shared_pairs > 0
