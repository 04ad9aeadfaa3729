import asyncio
import ctypes
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic

import pytest

from engines import TIMEOUT, Answers, FailsOn, GatedEngine, LengthEngine, Pipelined, wait_until
from fr_reranker_plugin import (
    BatchingScorer,
    BatchSettings,
    DeadlineExceededError,
    OverloadedError,
    ScorerClosedError,
    ScoringError,
    SettingsError,
)
from fr_reranker_plugin.scoring.requests import Request


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
        large = pool.submit(scorer.score, [(f"large {n}", "x" * 10) for n in range(1000)])
        assert gated.started.wait(TIMEOUT)
        small = pool.submit(scorer.score, [(f"small {n}", "y" * 10) for n in range(10)])
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
                return scorer.score([(f"{number}, {n}", passage) for n in range(3)])
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
        pool.submit(scorer.score, [("q", "z")])
        assert gated.started.wait(TIMEOUT)
        waiting = pool.submit(scorer.score, [("q", "a"), ("q", "b")])
        wait_until(lambda: scorer.snapshot().waiting_pairs == 2)
        with pytest.raises(OverloadedError, match="2 pairs") as caught:
            scorer.score([("q", "c")])
        assert (caught.value.waiting, caught.value.retry_after) == (2, 1.0)
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
    assert logits.tokens == sum(map(len, passages))


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
        questions = [[(f"{n}, {m}", "unwanted") for m in range(5)] for n in range(20)]
        unwanted = [asyncio.ensure_future(scorer.ascore(pairs)) for pairs in questions]
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
        waiting = [pool.submit(scorer.score, [(str(n), "a")]) for n in range(4)]
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
            calls = [[(f"{thread}, {call}", "x" * n) for n in three] for call, three in enumerate(lengths)]
            return all(scorer.score(pairs) == [float(len(passage)) for _, passage in pairs] for pairs in calls)

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


def test_bulk_work_waits_for_interactive_requests_and_fills_up_their_batches(gated, pool):
    gated.pads = False
    with BatchingScorer(gated, BatchSettings(max_batch_tokens=100)) as scorer:
        first = pool.submit(scorer.score, [("q", "a" * 100)])
        assert gated.started.wait(TIMEOUT)
        bulk = pool.submit(scorer.score, [(f"{n}", "b" * 10) for n in range(20)], priority="bulk")
        wait_until(lambda: scorer.snapshot().waiting["bulk"].pairs == 20)
        interactive = pool.submit(scorer.score, [(f"{n}", "i" * 10) for n in range(15)])
        wait_until(lambda: scorer.snapshot().waiting["interactive"].pairs == 15)
        gated.gate.set()
        for future in (first, bulk, interactive):
            future.result(TIMEOUT)
    shares = [sum(passage == "b" * 10 for passage in batch) for batch in gated.batches]
    assert shares[:3] == [0, 0, 5]
    assert sum(shares) == 20


def test_a_priority_that_does_not_exist_is_refused_before_any_work():
    engine = LengthEngine()
    with BatchingScorer(engine) as scorer:
        with pytest.raises(SettingsError, match="'interactive', 'bulk', got 'urgent'"):
            scorer.score([("q", "a")], priority="urgent")
        with pytest.raises(SettingsError, match="priority"):
            asyncio.run(scorer.ascore([("q", "a")], priority="urgent"))
    assert engine.batches == []


def test_bulk_requests_cannot_fill_the_queue_for_interactive_ones(gated, pool):
    with BatchingScorer(gated, BatchSettings(max_waiting_pairs=4)) as scorer:
        pool.submit(scorer.score, [("q", "z")])
        assert gated.started.wait(TIMEOUT)
        bulk = pool.submit(scorer.score, [(f"{n}", "bulk") for n in range(4)], priority="bulk")
        wait_until(lambda: scorer.snapshot().waiting_pairs == 4)
        interactive = pool.submit(scorer.score, [(f"{n}", "inter") for n in range(4)])
        wait_until(lambda: scorer.snapshot().waiting_pairs == 8)
        for priority in ("bulk", "interactive"):
            with pytest.raises(OverloadedError):
                scorer.score([("q", "one more")], priority=priority)
        gated.gate.set()
        assert bulk.result(TIMEOUT) == [4.0] * 4
        assert interactive.result(TIMEOUT) == [5.0] * 4


def test_callers_that_arrive_at_once_never_get_more_in_than_the_queue_holds(gated, pool):
    with BatchingScorer(gated, BatchSettings(max_waiting_pairs=10)) as scorer:
        pool.submit(scorer.score, [("q", "z")])
        assert gated.started.wait(TIMEOUT)
        barrier = threading.Barrier(16)

        def ask(caller):
            barrier.wait(TIMEOUT)
            try:
                return scorer.score([(f"{caller}, {n}", "x") for n in range(3)])
            except OverloadedError as error:
                return error

        asked = [pool.submit(ask, caller) for caller in range(16)]
        wait_until(lambda: scorer.snapshot().refused == 13)
        assert scorer.snapshot().waiting_pairs == 9
        gated.gate.set()
        answers = [future.result(TIMEOUT) for future in asked]
    assert sum(answer == [1.0] * 3 for answer in answers) == 3
    assert sum(isinstance(answer, OverloadedError) for answer in answers) == 13


def test_a_refused_caller_is_told_how_long_the_queue_needs(gated, pool):
    with BatchingScorer(gated, BatchSettings(max_waiting_pairs=2)) as scorer:
        running = pool.submit(scorer.score, [("q", "z")])
        assert gated.started.wait(TIMEOUT)
        waiting = pool.submit(scorer.score, [("q", "v" * 100), ("q", "w" * 100)])
        wait_until(lambda: scorer.snapshot().waiting_pairs == 2)
        scorer._queue.rates[0].count(tokens=50, seconds=1.0)
        with pytest.raises(OverloadedError, match="try again in 2 s") as caught:
            scorer.score([("q", "c")])
        assert caught.value.retry_after == pytest.approx(2.0)  # one of the two must go, at 50 tokens per second
        gated.gate.set()
        assert running.result(TIMEOUT) == [1.0]
        assert waiting.result(TIMEOUT) == [100.0, 100.0]


def test_the_next_batch_is_launched_before_the_one_before_is_waited_for(pool):
    engine = Pipelined()
    with BatchingScorer(engine, BatchSettings(max_batch_tokens=10)) as scorer:
        answer = pool.submit(scorer.score, [(f"{n}", "x" * 10) for n in range(3)])
        assert engine.launched[0].wait(TIMEOUT)
        assert engine.launched[1].wait(TIMEOUT)
        assert not engine.launched[2].is_set()
        for gate in engine.gates:
            gate.set()
        assert answer.result(TIMEOUT) == [10.0] * 3


def test_an_engine_with_room_for_more_answers_at_once_when_nothing_waits(pool):
    engine = Pipelined()
    engine.gates[0].set()
    with BatchingScorer(engine) as scorer:
        assert pool.submit(scorer.score, [("q", "xx")]).result(TIMEOUT) == [2.0]


def test_a_request_whose_time_is_over_when_its_turn_comes_costs_nothing(gated, pool):
    with BatchingScorer(gated) as scorer:
        first = pool.submit(scorer.score, [("q", "a")])
        assert gated.started.wait(TIMEOUT)
        late = Request([("q", "unwanted")], gated.encode([("q", "unwanted")]), deadline=monotonic())
        late_in_queue = Request([("r", "unwanted")], gated.encode([("r", "unwanted")]), deadline=monotonic() + 0.01)
        with pytest.raises(TimeoutError):
            scorer._queue.enter(late)
        scorer._queue.enter(late_in_queue)  # its caller does not wait for it, and so cannot withdraw it
        wait_until(lambda: monotonic() >= late_in_queue.deadline)
        gated.gate.set()
        first.result(TIMEOUT)
        with pytest.raises(TimeoutError):
            late_in_queue.future.result(TIMEOUT)
        assert scorer.snapshot().expired_pairs == 2
    assert gated.batches == [["a"]]


def test_an_event_loop_that_is_closed_while_it_waits_disturbs_nobody(gated, pool):
    with BatchingScorer(gated) as scorer:
        first = pool.submit(scorer.score, [("q", "a")])
        assert gated.started.wait(TIMEOUT)
        loop = asyncio.new_event_loop()
        left = loop.create_task(scorer.ascore([("q", "left")]))
        wait_until(lambda: loop.run_until_complete(asyncio.sleep(0)) or scorer.snapshot().waiting_pairs == 1)
        left._log_destroy_pending = False  # asyncio would complain, rightly: nobody may close a loop like this
        loop.close()
        others = [pool.submit(scorer.score, [(str(n), "bb")]) for n in range(5)]
        wait_until(lambda: scorer.snapshot().waiting_pairs == 6)
        gated.gate.set()
        assert first.result(TIMEOUT) == [1.0]
        assert [future.result(TIMEOUT) for future in others] == [[2.0]] * 5
        assert scorer.health().engines_alive == 1


def test_a_thread_that_dies_while_it_waits_disturbs_nobody_and_its_pairs_are_dropped(gated, pool):
    with BatchingScorer(gated) as scorer:
        first = pool.submit(scorer.score, [("q", "a")])
        assert gated.started.wait(TIMEOUT)

        def wait():
            with suppress(SystemExit):
                while True:  # an asynchronous exception arrives between two waits
                    with suppress(DeadlineExceededError):
                        scorer.score([("q", "left")], timeout=0.02)

        dying = threading.Thread(target=wait)
        dying.start()
        other = pool.submit(scorer.score, [("q", "other")])
        wait_until(lambda: scorer.snapshot().waiting_pairs == 2)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(dying.ident), ctypes.py_object(SystemExit))
        dying.join(TIMEOUT)
        assert not dying.is_alive()
        gated.gate.set()
        assert (first.result(TIMEOUT), other.result(TIMEOUT)) == ([1.0], [5.0])
    assert all("left" not in batch for batch in gated.batches)


def test_only_two_slices_of_an_oversized_request_are_held_as_tokens(pool):
    class Counts(LengthEngine):
        encoded = most = 0

        def encode(self, pairs):
            self.encoded += len(pairs)
            self.most = max(self.most, self.encoded - sum(map(len, self.batches)))
            return super().encode(pairs)

    engine = Counts()
    with BatchingScorer(engine, BatchSettings(max_slice_pairs=10, max_batch_size=1)) as scorer:
        scorer.score([(str(n), "x") for n in range(200)])
    assert engine.most <= 20


class TokenizerAtWork(LengthEngine):
    """Waits in the first piece that is tokenised; keeps the first passage and the size of each."""

    def __init__(self):
        super().__init__()
        self.pieces = []
        self.begun, self.gate = threading.Event(), threading.Event()

    def encode(self, pairs):
        self.pieces.append((pairs[0][1], len(pairs)))
        self.begun.set()
        assert self.gate.wait(TIMEOUT)
        return super().encode(pairs)


async def test_who_waits_for_the_tokenizer_gets_it_before_a_large_request_is_done_with_it():
    engine = TokenizerAtWork()
    with BatchingScorer(engine) as scorer:
        bulk = asyncio.ensure_future(scorer.ascore([("q", f"{n:03}") for n in range(300)], priority="bulk"))
        assert await asyncio.to_thread(engine.begun.wait, TIMEOUT)
        asked = asyncio.ensure_future(scorer.ascore([("q", "interactive")], timeout=TIMEOUT))
        asyncio.get_running_loop().call_soon(engine.gate.set)  # after the first step of what was just asked
        assert await asked == [11.0]
        assert await asyncio.wait_for(bulk, TIMEOUT) == [3.0] * 300
    assert engine.pieces[1] == ("interactive", 1)
    assert max(size for _, size in engine.pieces) <= 32


async def test_windows_of_nothing_do_not_wait_for_the_tokenizer():
    engine = TokenizerAtWork()
    with BatchingScorer(engine) as scorer:
        bulk = asyncio.ensure_future(scorer.ascore([("q", "bulk")]))
        assert await asyncio.to_thread(engine.begun.wait, TIMEOUT)
        assert await asyncio.wait_for(scorer.awindows([], overlap=0), TIMEOUT) == []
        engine.gate.set()
        await asyncio.wait_for(bulk, TIMEOUT)


def test_a_text_that_is_not_a_string_is_named_by_its_place_in_the_whole_request():
    pairs = [("q", "p")] * 100 + [("q", None)]
    with BatchingScorer(LengthEngine(), BatchSettings(max_slice_pairs=40)) as scorer:
        for ask in (scorer.score, lambda pairs: asyncio.run(scorer.ascore(pairs))):
            with pytest.raises(SettingsError, match="passage of pair 100 must be a string, got NoneType"):
                ask(pairs)
        assert scorer.snapshot().pairs == 0


@pytest.mark.parametrize("timeout", [math.inf, 1e12, 1e300])
def test_a_time_longer_than_any_wait_is_waited_for(timeout):
    with BatchingScorer(LengthEngine()) as scorer:
        assert scorer.score([("q", "abc")], timeout=timeout) == [3.0]
        assert asyncio.run(scorer.ascore([("q", "abc")], timeout=timeout)) == [3.0]
