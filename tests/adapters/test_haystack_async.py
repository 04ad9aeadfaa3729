import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from adapters.haystack_documents import (
    QUESTION,
    TIMEOUT,
    french_documents,
    question_for,
    scores_by_id,
    search_pipeline,
)
from fr_reranker_plugin import CrossEncoder, SharedScorer
from fr_reranker_plugin.scoring.metrics import Snapshot
from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker


@pytest.fixture
def ranker(tiny_model: str) -> Iterator[FrenchCrossEncoderRanker]:
    ranker = FrenchCrossEncoderRanker(model=tiny_model, top_k=None)
    yield ranker
    ranker.close()


PATIENCE = 20
"""Seconds that a test waits for the scorer's threads."""


class Gate:
    """Holds the model's first batch back until it is opened, and counts the requests that were tokenised."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.holding, self.opened = threading.Event(), threading.Event()
        self._tokenised = threading.Semaphore(0)
        self._own_thread = ThreadPoolExecutor(1)
        launch, encode = CrossEncoder.launch, CrossEncoder.encode

        def held(engine: CrossEncoder, batch: list) -> Callable[[], list[float]]:
            self.holding.set()
            self.opened.wait(PATIENCE)
            self.opened.set()  # a test that never opened it fails once, and does not wait for every later batch
            return launch(engine, batch)

        def counted(engine: CrossEncoder, pairs: list) -> list:
            encoded = encode(engine, pairs)
            self._tokenised.release()
            return encoded

        monkeypatch.setattr(CrossEncoder, "launch", held)
        monkeypatch.setattr(CrossEncoder, "encode", counted)

    async def wait_for_requests(self, count: int) -> None:
        """Wait until `count` requests were tokenised, in a thread that no request can occupy."""
        await asyncio.get_running_loop().run_in_executor(self._own_thread, self._acquire, count)

    async def wait_until_holding(self) -> None:
        assert await asyncio.get_running_loop().run_in_executor(self._own_thread, self.holding.wait, PATIENCE)

    def _acquire(self, count: int) -> None:
        deadline = monotonic() + PATIENCE
        for number in range(count):
            reached = self._tokenised.acquire(timeout=max(0.0, deadline - monotonic()))
            assert reached, f"only {number} of {count} requests reached the queue"


@pytest.fixture
def gate(ranker: FrenchCrossEncoderRanker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    ranker.warm_up()
    gate = Gate(monkeypatch)
    yield gate
    gate.opened.set()


def test_both_doors_have_one_signature() -> None:
    ranker = FrenchCrossEncoderRanker(model="embedded")
    assert inspect.signature(ranker.run) == inspect.signature(ranker.run_async)


async def test_both_doors_give_the_same_answer(ranker: FrenchCrossEncoderRanker) -> None:
    for options in ({}, {"top_k": 2}, {"scale_score": False}, {"score_threshold": 0.3}):
        expected = ranker.run(QUESTION, french_documents(), **options)
        assert await ranker.run_async(QUESTION, french_documents(), **options) == expected


async def test_a_hundred_requests_at_once_all_reach_the_queue(ranker: FrenchCrossEncoderRanker, gate: Gate) -> None:
    questions = [f"{QUESTION} {number}" for number in range(100)]
    pipeline = search_pipeline(FrenchCrossEncoderRanker(model=ranker.model, top_k=None))
    tasks = [asyncio.create_task(pipeline.run_async(question_for(question))) for question in questions]
    await gate.wait_for_requests(100)  # a pool of threads would hold most of them back
    assert not any(task.done() for task in tasks)
    gate.opened.set()
    answers = await asyncio.wait_for(asyncio.gather(*tasks), TIMEOUT)
    for question, answer in zip(questions, answers, strict=True):
        expected = scores_by_id(ranker.run(question, french_documents())["documents"])
        scores = scores_by_id(answer["ranker"]["documents"])
        assert scores
        assert scores == pytest.approx({found: expected[found] for found in scores}, abs=1e-4)
    await pipeline.close_async()


async def test_a_cancelled_request_is_dropped_and_leaves_the_others_correct(
    ranker: FrenchCrossEncoderRanker, gate: Gate
) -> None:
    questions = [f"{QUESTION} {number}" for number in range(6)]
    before = counters(ranker)
    tasks = [asyncio.create_task(ranker.run_async(questions[0], french_documents()))]
    await gate.wait_until_holding()  # the others wait behind the first
    tasks += [asyncio.create_task(ranker.run_async(question, french_documents())) for question in questions[1:]]
    await gate.wait_for_requests(6)
    tasks[4].cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(tasks[4], TIMEOUT)
    gate.opened.set()
    others = [number for number in range(6) if number != 4]
    answers = await asyncio.wait_for(asyncio.gather(*(tasks[number] for number in others)), TIMEOUT)
    after = counters(ranker)
    assert after.pairs - before.pairs == 5 * 6
    for number, answer in zip(others, answers, strict=True):
        expected = scores_by_id(ranker.run(questions[number], french_documents())["documents"])
        assert scores_by_id(answer["documents"]) == pytest.approx(expected, abs=1e-4)


def counters(ranker: FrenchCrossEncoderRanker) -> Snapshot:
    """Read the counters of the model that the ranker shares."""
    handle = SharedScorer(ranker.model_settings())
    handle.warm_up()
    snapshot = handle.snapshot()
    handle.close()
    assert snapshot is not None
    return snapshot


def test_a_ranker_works_from_one_event_loop_after_another(ranker: FrenchCrossEncoderRanker) -> None:
    expected = ranker.run(QUESTION, french_documents())
    for _ in range(3):
        assert asyncio.run(ranker.run_async(QUESTION, french_documents())) == expected
    asyncio.run(ranker.close_async())
    assert asyncio.run(ranker.run_async(QUESTION, french_documents())) == expected


def test_a_ranker_works_from_several_event_loops_at_once(ranker: FrenchCrossEncoderRanker) -> None:
    expected = scores_by_id(ranker.run(QUESTION, french_documents())["documents"])
    together = threading.Barrier(6)

    async def ask_often() -> list[dict]:
        together.wait(TIMEOUT)
        return await asyncio.gather(*(ranker.run_async(QUESTION, french_documents()) for _ in range(10)))

    with ThreadPoolExecutor(6) as pool:
        for answers in pool.map(lambda _: asyncio.run(ask_often()), range(6), timeout=TIMEOUT):
            for answer in answers:
                assert scores_by_id(answer["documents"]) == pytest.approx(expected, abs=1e-4)


async def test_cold_requests_at_once_load_one_model(tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    load = CrossEncoder.load
    monkeypatch.setattr(CrossEncoder, "load", lambda settings: loads.append(settings) or load(settings))
    ranker = FrenchCrossEncoderRanker(model=tiny_model, max_length=60)
    answers = await asyncio.gather(*(ranker.run_async(QUESTION, french_documents()) for _ in range(20)))
    assert len(loads) == 1
    assert all(
        scores_by_id(answer["documents"]) == pytest.approx(scores_by_id(answers[0]["documents"]), abs=1e-4)
        for answer in answers
    )
    await ranker.close_async()
