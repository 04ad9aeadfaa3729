from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin import BatchSettings
from fr_reranker_plugin.scoring.requests import Request, take_batch
from fr_reranker_plugin.scoring.scorer import EncodedPair

lengths_of_requests = st.lists(st.lists(st.integers(1, 600), min_size=1, max_size=30), min_size=1, max_size=8)


def request_of(lengths, arrived_at=0):
    pairs = [("q", str(length)) for length in lengths]
    return Request(pairs, [EncodedPair([0] * length, [0] * length, False) for length in lengths], arrived_at=arrived_at)


def drain(requests, settings):
    """Take batches until nothing waits."""
    batches = []
    while batch := take_batch(requests, settings):
        batches.append(batch)
        assert len(batches) <= 10_000
    return batches


@given(lengths_of_requests, st.integers(1, 2000))
def test_every_pair_is_in_exactly_one_batch(lengths, budget):
    requests = [request_of(one) for one in lengths]
    taken = [slot for batch in drain(requests, BatchSettings(max_batch_tokens=budget)) for slot in batch]
    expected = {(id(request), i) for request, one in zip(requests, lengths, strict=True) for i in range(len(one))}
    assert len(taken) == len(expected)
    assert {(id(slot.request), slot.position) for slot in taken} == expected


@given(lengths_of_requests, st.integers(1, 2000))
def test_no_batch_is_over_the_token_budget_unless_it_is_a_single_pair(lengths, budget):
    for batch in drain([request_of(one) for one in lengths], BatchSettings(max_batch_tokens=budget)):
        longest = max(len(slot.encoded.token_ids) for slot in batch)
        assert len(batch) == 1 or longest * len(batch) <= budget


@given(lengths_of_requests, st.integers(1, 5))
def test_no_batch_has_more_pairs_than_allowed(lengths, size):
    batches = drain([request_of(one) for one in lengths], BatchSettings(max_batch_size=size))
    assert all(len(batch) <= size for batch in batches)


@given(lengths_of_requests)
def test_a_batch_holds_like_lengths_only(lengths):
    for batch in drain([request_of(one) for one in lengths], BatchSettings()):
        sizes = [len(slot.encoded.token_ids) for slot in batch]
        assert min(sizes) >= max(sizes) * 0.59 or max(sizes) - min(sizes) <= 32


def test_the_request_with_the_least_work_left_goes_first():
    long, short = request_of([100] * 50), request_of([90] * 3)
    first = take_batch([long, short], BatchSettings(max_batch_tokens=400))
    assert [slot.request for slot in first[:3]] == [short] * 3


def test_a_batch_is_topped_up_with_like_lengths_of_other_requests():
    small, other = request_of([50, 50]), request_of([50] * 20)
    batch = take_batch([other, small], BatchSettings(max_batch_tokens=500))
    assert [slot.request for slot in batch] == [small] * 2 + [other] * 8


def test_a_long_request_is_not_starved_by_short_ones_that_keep_coming():
    settings = BatchSettings(max_batch_tokens=100)
    long = request_of([100] * 20)
    done = 0
    for _ in range(40):
        queue = [long, request_of([100], arrived_at=done)]
        batch = take_batch(queue, settings)
        done += sum(len(slot.encoded.token_ids) for slot in batch)
        if not long.waiting:
            break
    assert not long.waiting
    assert done <= 4100
