import random
from itertools import count
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin.scoring.requests import Request
from fr_reranker_plugin.scoring.scheduling import Limits, Schedule
from fr_reranker_plugin.scoring.scorer import EncodedPair

lengths_of_requests = st.lists(st.lists(st.integers(1, 600), min_size=1, max_size=30), min_size=1, max_size=8)
priorities = st.lists(st.sampled_from(["interactive", "bulk"]), min_size=8, max_size=8)
budgets = st.integers(1, 2000)
query = count()


def request_of(lengths, priority="interactive"):
    pairs = [(str(next(query)), str(length)) for length in lengths]
    encoded = [EncodedPair([0] * length, [0] * length, False) for length in lengths]
    return Request(pairs, encoded, priority=priority)


def schedule_of(*requests):
    schedule = Schedule()
    for request in requests:
        schedule.add(request)
    return schedule


def drain(schedule, limits):
    """Take batches until nothing waits."""
    batches = []
    while batch := schedule.take_batch(limits):
        batches.append(batch)
        assert len(batches) <= 10_000
    return batches


def cost(batch, pads=True):
    lengths = [slot.length for slot in batch]
    return max(lengths) * len(lengths) if pads else sum(lengths)


def owners(batch):
    return [slot.askers[0][0] for slot in batch]


def mmarco_like(seed):
    """Give lengths of pairs in tokens: log-normal, mean 90, 95th percentile 180."""
    draw = random.Random(seed)
    return lambda: max(8, min(512, round(draw.lognormvariate(log(90) - 0.496**2 / 2, 0.496))))


@given(lengths_of_requests, priorities, budgets, st.booleans())
def test_every_pair_is_in_exactly_one_batch(lengths, classes, budget, pads):
    requests = [request_of(one, priority) for one, priority in zip(lengths, classes, strict=False)]
    batches = drain(schedule_of(*requests), Limits(budget, None, pads))
    taken = [(id(request), position) for batch in batches for slot in batch for request, position in slot.askers]
    assert sorted(taken) == sorted(
        (id(r), i) for r, one in zip(requests, lengths, strict=True) for i in range(len(one))
    )
    assert all(request.waiting == request.waiting_tokens == 0 for request in requests)


@given(lengths_of_requests, priorities, budgets, st.booleans())
def test_no_batch_is_over_the_token_budget_unless_it_is_a_single_pair(lengths, classes, budget, pads):
    requests = [request_of(one, priority) for one, priority in zip(lengths, classes, strict=False)]
    for batch in drain(schedule_of(*requests), Limits(budget, None, pads)):
        assert len(batch) == 1 or cost(batch, pads) <= budget


@given(lengths_of_requests, st.integers(1, 5), st.booleans())
def test_no_batch_has_more_pairs_than_allowed(lengths, size, pads):
    batches = drain(schedule_of(*map(request_of, lengths)), Limits(1024, size, pads))
    assert all(len(batch) <= size for batch in batches)


@given(lengths_of_requests, priorities)
def test_at_most_7_percent_of_a_padded_batch_is_padding_or_16_tokens(lengths, classes):
    requests = [request_of(one, priority) for one, priority in zip(lengths, classes, strict=False)]
    for batch in drain(schedule_of(*requests), Limits(1024)):
        assert cost(batch) - cost(batch, pads=False) <= max(16, 0.07 * cost(batch) + 1)


@pytest.mark.parametrize("callers", [1, 16])
def test_93_percent_of_what_a_padding_engine_computes_is_useful_on_requests_like_those_of_mmarco(callers):
    length = mmarco_like(callers)
    schedule, useful, computed = Schedule(), 0, 0
    waiting = []
    for _ in range(1000):
        waiting = [request for request in waiting if request.waiting]
        while len(waiting) < callers:
            waiting.append(request_of([length() for _ in range(20)]))
            schedule.add(waiting[-1])
        batch = schedule.take_batch(Limits(1024))
        useful, computed = useful + cost(batch, pads=False), computed + cost(batch)
    assert useful / computed >= 0.93


def test_a_padding_free_engine_gets_full_batches_whatever_the_lengths():
    length = mmarco_like(1)
    batches = drain(
        schedule_of(*(request_of([length() for _ in range(20)]) for _ in range(64))), Limits(4096, None, False)
    )
    assert sum(cost(batch, pads=False) for batch in batches[:-1]) / (4096 * len(batches[:-1])) >= 0.98


@pytest.mark.parametrize("pads", [True, False])
def test_ten_pairs_behind_a_thousand_are_done_before_three_batches_are_computed(pads):
    length = mmarco_like(2)
    for _ in range(50):
        schedule = schedule_of(request_of([length() for _ in range(1000)]))
        running = cost(schedule.take_batch(Limits(1024, None, pads)), pads)
        small = request_of([min(100, length()) for _ in range(10)])
        schedule.add(small)
        computed = running
        while small.waiting:
            computed += cost(schedule.take_batch(Limits(1024, None, pads)), pads)
        assert computed < 3 * 1024


def test_the_request_with_the_least_work_left_goes_first():
    long, short = request_of([100] * 50), request_of([90] * 3)
    batch = schedule_of(long, short).take_batch(Limits(400))
    assert owners(batch)[:3] == [short] * 3


def test_a_batch_is_topped_up_with_like_lengths_of_other_requests():
    small, other = request_of([50, 50]), request_of([50] * 20)
    assert owners(schedule_of(other, small).take_batch(Limits(500))) == [small] * 2 + [other] * 3
    small, other = request_of([50, 50]), request_of([50] * 20)
    assert owners(schedule_of(other, small).take_batch(Limits(500, None, False))) == [small] * 2 + [other] * 8


@pytest.mark.parametrize("pads", [True, False])
def test_a_long_request_is_not_starved_by_short_ones_that_keep_coming(pads):
    long = request_of([100] * 20)
    schedule, done = schedule_of(long), 0
    while long.waiting:
        schedule.add(request_of([100]))
        done += cost(schedule.take_batch(Limits(100, None, pads)), pads)
        assert done <= 4100


@given(st.lists(st.integers(1, 600), min_size=5, max_size=30), st.integers(100, 2000), st.booleans())
def test_interactive_pairs_go_before_bulk_ones(lengths, budget, pads):
    interactive, bulk = request_of(lengths), request_of(lengths * 3, "bulk")
    schedule = schedule_of(bulk, interactive)
    limits = Limits(budget, None, pads)
    computed = 0
    while interactive.waiting:
        batch = schedule.take_batch(limits)
        if owners(batch)[0] is bulk:
            assert 0.1 * computed >= budget // 8  # its turn: a tenth of the tokens is its own
        computed += cost(batch, pads=False)


@pytest.mark.parametrize("pads", [True, False])
def test_bulk_gets_at_least_a_tenth_of_the_tokens_however_much_interactive_work_comes(pads):
    length = mmarco_like(3)
    bulk = request_of([length() for _ in range(400)], "bulk")
    waiting_at_first = bulk.waiting_tokens
    schedule, computed = schedule_of(bulk), 0
    while bulk.waiting:
        for _ in range(2):
            schedule.add(request_of([length() for _ in range(20)]))
        computed += cost(schedule.take_batch(Limits(1024, None, pads)), pads=False)
        assert waiting_at_first - bulk.waiting_tokens >= 0.1 * computed - 1024
    assert waiting_at_first / computed < 0.25


def test_what_bulk_got_while_nobody_else_came_is_not_held_against_it():
    bulk = request_of([10] * 1000, "bulk")
    schedule = schedule_of(bulk)
    for _ in range(50):
        schedule.take_batch(Limits(100))
    schedule.add(request_of([10] * 1000))
    leads = [owners(schedule.take_batch(Limits(100)))[0] is bulk for _ in range(40)]
    assert any(leads[:4])
    assert 3 <= sum(leads) <= 40


def test_a_pair_that_two_requests_wait_for_is_taken_by_the_more_urgent_one():
    pairs = [("q", "a"), ("q", "b")]
    encoded = [EncodedPair([0] * 5, [0] * 5, False)] * 2
    bulk, interactive = Request(pairs, encoded, priority="bulk"), Request(pairs[:1], encoded[:1])
    known = {}
    assert (bulk.join(known), interactive.join(known)) == (0, 1)
    schedule = schedule_of(bulk, interactive)
    (slot,) = schedule.take_batch(Limits(5))
    assert slot.askers == [(bulk, 0), (interactive, 0)]
    assert (interactive.waiting, bulk.waiting, schedule.waiting("bulk")) == (0, 1, (1, 5))


def test_a_request_that_left_is_not_counted_when_its_pair_is_taken_for_another():
    pairs = [("q", "a"), ("q", "b")]
    encoded = [EncodedPair([0] * 5, [0] * 5, False)] * 2
    leaving, staying = Request(pairs, encoded), Request(pairs[:1], encoded[:1])
    known = {}
    leaving.join(known)
    staying.join(known)
    schedule = schedule_of(leaving, staying)
    assert [slot.item for slot in leaving.leave()] == [("q", "b")]
    assert schedule.waiting("interactive") == (1, 5)
    assert len(schedule.take_batch(Limits(100))) == 1
    assert schedule.waiting("interactive") == (0, 0)
