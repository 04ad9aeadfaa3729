import asyncio

import pytest

from engines import TIMEOUT, FailsOn, GatedEngine, LengthEngine, wait_until
from fr_reranker_plugin import BatchingScorer, BatchSettings, ScoringError


def test_a_pair_that_stands_in_a_request_several_times_is_computed_once():
    engine = LengthEngine()
    with BatchingScorer(engine) as scorer:
        logits = scorer.score([("q", "aa"), ("q", "b…"), ("q", "aa"), ("r", "aa"), ("q", "b…")])
        assert scorer.snapshot().shared_pairs == 2
    assert logits == [2.0] * 5
    assert logits.truncated == (1, 4)
    assert sum(map(len, engine.batches)) == 3


def test_a_pair_that_waits_or_is_being_computed_is_computed_once_for_all_callers(gated, pool):
    with BatchingScorer(gated) as scorer:
        running = pool.submit(scorer.score, [("q", "run")])
        assert gated.started.wait(TIMEOUT)
        first = pool.submit(scorer.score, [("q", "aa"), ("q", "run")])
        wait_until(lambda: scorer.snapshot().waiting_pairs == 1)
        second = pool.submit(scorer.score, [("q", "bbbb"), ("q", "aa")])
        wait_until(lambda: scorer.snapshot().waiting_pairs == 3)
        assert scorer.snapshot().shared_pairs == 2
        gated.gate.set()
        assert [f.result(TIMEOUT) for f in (running, first, second)] == [[3.0], [2.0, 3.0], [4.0, 2.0]]
    assert sorted(passage for batch in gated.batches for passage in batch) == ["aa", "bbbb", "run"]


async def test_the_one_who_asked_first_may_leave_and_the_others_get_their_answer(gated):
    with BatchingScorer(gated) as scorer:
        running = asyncio.ensure_future(scorer.ascore([("q", "run")]))
        await asyncio.to_thread(gated.started.wait, TIMEOUT)
        leader = asyncio.ensure_future(scorer.ascore([("q", "aa"), ("q", "alone")]))
        await asyncio.to_thread(wait_until, lambda: scorer.snapshot().waiting_pairs == 2)
        follower = asyncio.ensure_future(scorer.ascore([("q", "aa"), ("q", "run")]))
        await asyncio.to_thread(wait_until, lambda: scorer.snapshot().waiting_pairs == 3)
        leader.cancel()
        running.cancel()
        await asyncio.gather(leader, running, return_exceptions=True)
        assert scorer.snapshot().waiting_pairs == 1
        another = asyncio.ensure_future(scorer.ascore([("q", "aa")]))
        await asyncio.to_thread(wait_until, lambda: scorer.snapshot().waiting_pairs == 2)
        gated.gate.set()
        assert await asyncio.wait_for(asyncio.gather(follower, another), TIMEOUT) == [[2.0, 3.0], [2.0]]
    assert [passage for batch in gated.batches for passage in batch] == ["run", "aa"]


def test_a_pair_that_fails_fails_all_that_asked_for_it_and_nobody_else(pool):
    class Gated(FailsOn, GatedEngine):
        pass

    engine = Gated("poison")
    with BatchingScorer(engine) as scorer:
        first = pool.submit(scorer.score, [("q", "fine")])
        assert engine.started.wait(TIMEOUT)
        asked = [pool.submit(scorer.score, [(str(n), "good"), ("q", "poison")]) for n in range(3)]
        other = pool.submit(scorer.score, [("q", "other")])
        wait_until(lambda: scorer.snapshot().waiting_pairs == 7)
        engine.gate.set()
        for future in asked:
            with pytest.raises(ScoringError, match="pair 1 .*poison"):
                future.result(TIMEOUT)
        assert (first.result(TIMEOUT), other.result(TIMEOUT)) == ([4.0], [5.0])
        with pytest.raises(ScoringError):
            scorer.score([("q", "poison")])


def test_an_interactive_request_does_not_wait_for_the_bulk_request_that_asked_first(gated, pool):
    with BatchingScorer(gated, BatchSettings(max_batch_size=1)) as scorer:
        running = pool.submit(scorer.score, [("q", "run")])
        assert gated.started.wait(TIMEOUT)
        bulk = pool.submit(scorer.score, [("q", "x" * n) for n in range(1, 30)], priority="bulk")
        wait_until(lambda: scorer.snapshot().waiting["bulk"].pairs == 29)
        interactive = pool.submit(scorer.score, [("q", "x" * 5), ("q", "x" * 7)])
        wait_until(lambda: scorer.snapshot().waiting["interactive"].pairs == 2)
        gated.gate.set()
        assert interactive.result(TIMEOUT) == [5.0, 7.0]
        assert bulk.result(TIMEOUT) == [float(n) for n in range(1, 30)]
        assert running.result(TIMEOUT) == [3.0]
    assert sorted(batch[0] for batch in gated.batches[1:3]) == ["x" * 5, "x" * 7]
    assert len(gated.batches) == 30


def test_nothing_of_a_finished_request_is_remembered():
    with BatchingScorer(FailsOn("poison")) as scorer:
        assert scorer.score([("q", "a")] * 3) == scorer.score([("q", "a")]) * 3
        with pytest.raises(ScoringError):
            scorer.score([("q", "a"), ("q", "poison")])
        assert scorer._queue._known == {}
        assert scorer.snapshot().waiting_pairs == scorer.snapshot().waiting_tokens == 0
