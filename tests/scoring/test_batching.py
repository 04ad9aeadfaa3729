import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from engines import TIMEOUT, Answers, FailsOn, GatedEngine, LengthEngine
from fr_reranker_plugin import (
    BatchingScorer,
    BatchSettings,
    DeadlineExceededError,
    OverloadedError,
    ScorerClosedError,
    ScoringError,
)


@pytest.fixture
def gated():
    engine = GatedEngine()
    yield engine
    engine.gate.set()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(32) as executor:
        yield executor


def wait_until(condition):
    """Wait for a condition that another thread brings about, with an event's patience rather than a fixed sleep."""
    never = threading.Event()
    for _ in range(TIMEOUT * 200):
        if condition():
            return
        never.wait(0.005)
    raise AssertionError("the condition did not come about")


def test_scores_come_back_in_the_order_of_the_pairs():
    with BatchingScorer(LengthEngine(), BatchSettings(max_batch_tokens=8)) as scorer:
        assert scorer.score([("q", "x" * n) for n in (5, 1, 9, 3)]) == [5.0, 1.0, 9.0, 3.0]


def test_callers_that_wait_together_share_a_batch(gated, pool):
    with BatchingScorer(gated) as scorer:
        first = pool.submit(scorer.score, [("q", "a")])
        assert gated.started.wait(TIMEOUT)
        second = pool.submit(scorer.score, [("q", "bb")])
        third = pool.submit(scorer.score, [("r", "ccc"), ("r", "d")])
        wait_until(lambda: scorer.snapshot().waiting_pairs == 3)
        gated.gate.set()
        assert [f.result(TIMEOUT) for f in (first, second, third)] == [[1.0], [2.0], [3.0, 1.0]]
    assert [len(batch) for batch in gated.batches] == [1, 3]


def test_a_small_request_behind_a_large_one_is_done_within_three_batches(gated, pool):
    with BatchingScorer(gated, BatchSettings(max_batch_tokens=320)) as scorer:
        large = pool.submit(scorer.score, [("large", "x" * 10)] * 1000)
        assert gated.started.wait(TIMEOUT)
        small = pool.submit(scorer.score, [("small", "y" * 10)] * 10)
        wait_until(lambda: scorer.snapshot().waiting_pairs == 1000 - 32 + 10)
        gated.gate.set()
        assert small.result(TIMEOUT) == [10.0] * 10
        assert large.result(TIMEOUT) == [10.0] * 1000
    assert max(n for n, batch in enumerate(gated.batches) if "y" * 10 in batch) < 3


def test_a_poisonous_pair_fails_its_own_request_only(pool):
    engine = FailsOn("poison")
    with BatchingScorer(engine) as scorer:
        barrier = threading.Barrier(8)

        def ask(number):
            barrier.wait(TIMEOUT)
            passage = "poison" if number == 3 else "x" * 6
            try:
                return scorer.score([("q", passage)] * 3)
            except ScoringError as error:
                return error

        answers = list(pool.map(ask, range(8)))
    assert [a for n, a in enumerate(answers) if n != 3] == [[6.0] * 3] * 7
    assert "poison" in str(answers[3])
    assert isinstance(answers[3].__cause__, RuntimeError)


def test_the_batch_after_a_failed_one_runs():
    with BatchingScorer(FailsOn("poison")) as scorer:
        with pytest.raises(ScoringError, match="pair 1"):
            scorer.score([("q", "fine"), ("q", "poison")])
        assert scorer.score([("q", "fine")]) == [4.0]


@pytest.mark.parametrize("logit", [float("nan"), float("inf")])
def test_a_logit_that_is_not_finite_is_an_error_that_names_the_pair(logit):
    with BatchingScorer(Answers([logit])) as scorer, pytest.raises(ScoringError, match="mauvais"):
        scorer.score([("q", "mauvais")])


def test_an_engine_that_gives_too_few_logits_answers_every_caller_with_an_error():
    with BatchingScorer(Answers([])) as scorer, pytest.raises(ScoringError):
        scorer.score([("q", "a"), ("q", "b")])


def test_a_full_queue_refuses_at_once_and_says_how_many_wait(gated, pool):
    with BatchingScorer(gated, BatchSettings(max_waiting_pairs=2)) as scorer:
        pool.submit(scorer.score, [("q", "a")])
        assert gated.started.wait(TIMEOUT)
        waiting = pool.submit(scorer.score, [("q", "a"), ("q", "b")])
        wait_until(lambda: scorer.snapshot().waiting_pairs == 2)
        with pytest.raises(OverloadedError, match="2 pairs") as caught:
            scorer.score([("q", "c")])
        assert caught.value.waiting == 2
        gated.gate.set()
        assert waiting.result(TIMEOUT) == [1.0, 1.0]
        assert scorer.snapshot().refused == 1


def test_a_request_larger_than_the_queue_is_fed_through_in_slices():
    settings = BatchSettings(max_waiting_pairs=10, max_slice_pairs=4, max_batch_tokens=64)
    passages = ["x" * (n % 7 + 1) + "…" * (n == 50) for n in range(103)]
    with BatchingScorer(LengthEngine(), settings) as scorer:
        logits = scorer.score([("q", passage) for passage in passages])
        assert asyncio.run(scorer.ascore([("q", passage) for passage in passages])) == logits
    assert logits == [float(len(passage)) for passage in passages]
    assert logits.truncated == (50,)


def test_a_request_that_runs_out_of_time_is_dropped_from_the_queue(gated, pool):
    with BatchingScorer(gated) as scorer:
        pool.submit(scorer.score, [("q", "a")])
        assert gated.started.wait(TIMEOUT)
        with pytest.raises(DeadlineExceededError, match="0.01 s"):
            scorer.score([("q", "unwanted")], timeout=0.01)
        gated.gate.set()
    assert all("unwanted" not in batch for batch in gated.batches)


async def test_an_async_request_that_runs_out_of_time_is_dropped_too(gated):
    with BatchingScorer(gated) as scorer:
        first = asyncio.ensure_future(scorer.ascore([("q", "a")]))
        await asyncio.to_thread(gated.started.wait, TIMEOUT)
        with pytest.raises(DeadlineExceededError):
            await scorer.ascore([("q", "unwanted")], timeout=0.01)
        gated.gate.set()
        await first
    assert all("unwanted" not in batch for batch in gated.batches)


async def test_cancelled_tasks_cost_no_compute_and_leave_the_others_alone(gated):
    with BatchingScorer(gated, BatchSettings(max_batch_tokens=16)) as scorer:
        first = asyncio.ensure_future(scorer.ascore([("q", "a")]))
        await asyncio.to_thread(gated.started.wait, TIMEOUT)
        unwanted = [asyncio.ensure_future(scorer.ascore([("q", "unwanted")] * 5)) for _ in range(20)]
        wanted = asyncio.ensure_future(scorer.ascore([("q", "wanted")]))
        await asyncio.to_thread(wait_until, lambda: scorer.snapshot().waiting_pairs == 101)
        for task in unwanted:
            task.cancel()
        await asyncio.gather(*unwanted, return_exceptions=True)
        gated.gate.set()
        assert await wanted == [6.0]
        assert await first == [1.0]
    assert all("unwanted" not in batch for batch in gated.batches)
    assert scorer.snapshot().cancelled_pairs == 100


def test_close_answers_what_is_queued_and_refuses_the_rest(gated, pool):
    scorer = BatchingScorer(gated)
    pending = [pool.submit(scorer.score, [("q", "x" * n)]) for n in range(1, 9)]
    assert gated.started.wait(TIMEOUT)
    wait_until(lambda: scorer.snapshot().waiting_pairs + len(gated.batches[0]) == 8)
    closing = pool.submit(scorer.close)
    gated.gate.set()
    closing.result(TIMEOUT)
    assert [future.result(TIMEOUT) for future in pending] == [[float(n)] for n in range(1, 9)]
    with pytest.raises(ScorerClosedError, match="closed"):
        scorer.score([("q", "a")])
    with pytest.raises(ScorerClosedError, match="closed"):
        asyncio.run(scorer.ascore([("q", "a")]))
    scorer.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the thread is killed on purpose
def test_when_the_scoring_thread_dies_every_waiting_caller_is_answered():
    class Dies(GatedEngine):
        def forward(self, batch):
            super().forward(batch)
            raise SystemExit("killed")

    engine = Dies()
    with BatchingScorer(engine) as scorer, ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(scorer.score, [("q", "a")]) for _ in range(4)]
        assert engine.started.wait(TIMEOUT)
        wait_until(lambda: scorer.snapshot().waiting_pairs + len(engine.batches[0]) == 4)
        engine.gate.set()
        for future in waiting:
            with pytest.raises((ScorerClosedError, ScoringError)):
                future.result(TIMEOUT)
        with pytest.raises(ScorerClosedError):
            scorer.score([("q", "a")])


def test_no_pairs_are_answered_without_the_model():
    engine = LengthEngine()
    with BatchingScorer(engine) as scorer:
        assert scorer.score([]) == []
        assert asyncio.run(scorer.ascore([])) == []
    assert engine.batches == []


def test_32_threads_with_200_calls_each_get_their_own_answers(pool):
    engine = LengthEngine()
    with BatchingScorer(engine, BatchSettings(max_batch_tokens=256)) as scorer:
        barrier = threading.Barrier(32)

        def ask(thread):
            barrier.wait(TIMEOUT)
            lengths = [[(thread * 7 + call * 3 + n) % 40 + 1 for n in range(3)] for call in range(200)]
            return all(scorer.score([("q", "x" * n) for n in three]) == [float(n) for n in three] for three in lengths)

        assert all(pool.map(ask, range(32)))
        counts = scorer.snapshot()
    assert counts.pairs == 32 * 200 * 3
    assert counts.waiting_pairs == 0


def test_several_event_loops_use_one_scorer():
    with BatchingScorer(LengthEngine()) as scorer:

        async def ask(lengths):
            return await asyncio.gather(*(scorer.ascore([("q", "x" * n)]) for n in lengths))

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda start: asyncio.run(ask(range(start, start + 25))), range(1, 5)))
    assert answers == [[[float(n)] for n in range(start, start + 25)] for start in range(1, 5)]


def test_the_snapshot_counts_what_was_computed():
    with BatchingScorer(LengthEngine(), BatchSettings(max_batch_tokens=100)) as scorer:
        scorer.score([("q", "x" * 10), ("q", "x" * 9), ("q", "x" * 60)])
        counts = scorer.snapshot()
    assert (counts.batches, counts.pairs, counts.tokens) == (2, 3, 79)
    assert counts.efficiency == pytest.approx(79 / 80)
    assert counts.seconds["forward"] > 0
