from concurrent.futures import ThreadPoolExecutor

import pytest

from engines import TIMEOUT, FailsOn, GatedEngine, LengthEngine, wait_until
from fr_reranker_plugin import BatchingScorer, BatchSettings, DeadlineExceededError, ScoringError
from fr_reranker_plugin.scoring.metrics import LATENCY_BUCKETS, Metrics, Rate


def test_everything_starts_at_zero():
    with BatchingScorer([LengthEngine(), LengthEngine()], BatchSettings(max_batch_tokens=7)) as scorer:
        counts, health = scorer.snapshot(), scorer.health()
    assert (counts.waiting_pairs, counts.pairs, counts.failed_pairs, counts.shared_pairs) == (0, 0, 0, 0)
    assert (counts.efficiency, counts.tokens_per_second, counts.oldest_waiting_seconds) == (1.0, 0.0, 0.0)
    assert counts.token_budgets == (7, 7)
    assert (health.engines, health.engines_alive, health.seconds_since_last_batch) == (2, 2, None)
    assert health.is_ready


def test_what_waits_is_counted_by_priority_and_its_age_grows():
    engine = GatedEngine()
    with ThreadPoolExecutor(3) as pool, BatchingScorer(engine) as scorer:
        running = pool.submit(scorer.score, [("q", "run")])
        assert engine.started.wait(TIMEOUT)
        bulk = pool.submit(scorer.score, [("q", "xx"), ("q", "yyy")], priority="bulk")
        wait_until(lambda: scorer.snapshot().waiting_pairs == 2)
        interactive = pool.submit(scorer.score, [("q", "z")])
        wait_until(lambda: scorer.snapshot().waiting_pairs == 3)
        counts = scorer.snapshot()
        assert counts.waiting == {"interactive": (1, 1), "bulk": (2, 5)}
        assert counts.waiting_tokens == 6
        assert 0 < counts.oldest_waiting_seconds < scorer.snapshot().oldest_waiting_seconds
        assert 0 < scorer.health().oldest_waiting_seconds < TIMEOUT
        engine.gate.set()
        for future in (running, bulk, interactive):
            future.result(TIMEOUT)
        assert scorer.snapshot().oldest_waiting_seconds == 0
        assert 0 <= scorer.health().seconds_since_last_batch < TIMEOUT


@pytest.mark.parametrize(("pads", "efficiency"), [(True, 20 / 22), (False, 1.0)])
def test_efficiency_knows_whether_the_engine_pads(pads, efficiency):
    engine = LengthEngine()
    engine.pads = pads
    with BatchingScorer(engine) as scorer:
        scorer.score([("q", "x" * 11), ("q", "x" * 9)])
        assert scorer.snapshot().efficiency == pytest.approx(efficiency)


def test_the_seconds_of_every_phase_and_the_speed_are_counted():
    with BatchingScorer(LengthEngine()) as scorer:
        scorer.score([("q", "x" * n) for n in range(1, 200)])
        counts = scorer.snapshot()
    assert set(counts.seconds) == {"tokenize", "queue", "forward", "deliver"}
    assert all(seconds > 0 for seconds in counts.seconds.values())
    assert counts.tokens_per_second > 0


def test_answered_requests_are_in_a_histogram_of_their_priority_and_failed_ones_are_not():
    with BatchingScorer(FailsOn("poison")) as scorer:
        for _ in range(3):
            scorer.score([("q", "a")])
        scorer.score([("q", "a")], priority="bulk")
        with pytest.raises(ScoringError):
            scorer.score([("q", "poison")])
        requests, failed = scorer.snapshot().requests, scorer.snapshot().failed_pairs
    assert (requests["interactive"].answered, requests["bulk"].answered, failed) == (3, 1, 1)
    assert sum(requests["interactive"].buckets) == 3
    assert requests["interactive"].seconds > 0


def test_a_latency_on_a_bound_is_in_the_bucket_below_and_a_slower_one_in_the_last():
    metrics = Metrics()
    metrics.count_request("bulk", LATENCY_BUCKETS[0])
    metrics.count_request("bulk", LATENCY_BUCKETS[-1] * 2)
    buckets = metrics.snapshot({}, oldest=0, budgets=[], rates=[]).requests["bulk"].buckets
    assert (buckets[0], buckets[-1], sum(buckets)) == (1, 1, 2)


def test_the_speed_follows_what_was_measured_of_late():
    rate = Rate()
    for _ in range(100):
        rate.count(1000, 1.0)
    assert rate.tokens_per_second == pytest.approx(1000)
    for _ in range(50):
        rate.count(10, 1.0)
    assert rate.tokens_per_second < 20


def test_pairs_dropped_for_time_are_counted_apart_from_those_whose_caller_left():
    engine = GatedEngine()
    with ThreadPoolExecutor(3) as pool, BatchingScorer(engine) as scorer:
        running = pool.submit(scorer.score, [("q", "run")])
        assert engine.started.wait(TIMEOUT)
        with pytest.raises(DeadlineExceededError):
            scorer.score([("q", "a"), ("q", "b")], timeout=0.01)
        counts = scorer.snapshot()
        assert (counts.expired_pairs, counts.cancelled_pairs, counts.waiting_pairs) == (2, 0, 0)
        engine.gate.set()
        running.result(TIMEOUT)
