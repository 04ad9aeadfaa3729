"""The async side of the LangChain classes: it gives what the sync side gives, and leaves the event loop alone."""

import asyncio
import threading

import pytest
from langchain_core.documents import Document

from checkpoints import SENTENCES
from engines import TIMEOUT, GatedEngine, LengthEngine
from fr_reranker_plugin import BatchingScorer, DeadlineExceededError, live_scorers
from fr_reranker_plugin.langchain import FrenchCrossEncoder, FrenchCrossEncoderReranker
from heartbeat import assert_loop_stays_free

QUERY = "Où demander un acte de naissance ?"
DOCUMENTS = [Document(page_content=text, id=str(at)) for at, text in enumerate(SENTENCES)]


@pytest.fixture
def gated():
    engine = GatedEngine()
    with BatchingScorer(engine) as scorer:
        yield engine, scorer
        engine.gate.set()


async def until(happened):
    """Let the loop run until `happened()`."""
    async with asyncio.timeout(TIMEOUT):
        while not happened():
            await asyncio.sleep(0)


async def test_the_async_and_the_sync_side_give_the_same(tiny_model, no_model_left):
    reranker = FrenchCrossEncoderReranker(model=tiny_model, top_n=None)
    assert await reranker.acompress_documents(DOCUMENTS, QUERY) == reranker.compress_documents(DOCUMENTS, QUERY)
    assert await reranker.arerank(SENTENCES, QUERY) == reranker.rerank(SENTENCES, QUERY)
    await reranker.aclose()


async def test_a_loop_that_is_held_up_is_noticed(tiny_model, no_model_left):
    documents = [Document(page_content=f"{SENTENCES[0]} ({at})") for at in range(1000)]
    reranker = FrenchCrossEncoderReranker(model=tiny_model)

    async def blocking():
        return reranker.compress_documents(documents, QUERY)

    with pytest.raises(AssertionError, match="gaps in seconds"):
        await assert_loop_stays_free(blocking)
    reranker.close()


async def test_the_loop_stays_free_while_the_model_loads(tiny_model, no_model_left):
    reranker = FrenchCrossEncoderReranker(model=tiny_model)

    async def load_and_rerank():
        assert live_scorers() == 0
        return await reranker.acompress_documents(DOCUMENTS, QUERY)

    assert len(await assert_loop_stays_free(load_and_rerank, after=reranker.aclose)) == 3


async def test_the_loop_stays_free_while_a_thousand_pairs_are_scored(tiny_model, no_model_left):
    documents = [Document(page_content=f"{SENTENCES[at % len(SENTENCES)]} ({at})" * 3) for at in range(1000)]
    reranker = FrenchCrossEncoderReranker(model=tiny_model, top_n=None)
    await reranker.awarm_up()
    ranked = await assert_loop_stays_free(lambda: reranker.acompress_documents(documents, QUERY))
    assert len(ranked) == len(documents)
    await reranker.aclose()


async def test_a_hundred_requests_wait_together_without_a_thread_each(gated):
    engine, scorer = gated
    reranker = FrenchCrossEncoderReranker(scorer=scorer, scale_score=False)
    threads = threading.active_count()
    waiting = [asyncio.create_task(reranker.acompress_documents([Document(page_content="a" * n)], QUERY))
               for n in range(1, 101)]  # fmt: skip
    await until(engine.started.is_set)
    await until(lambda: scorer.snapshot().waiting_pairs + len(engine.batches[0]) == len(waiting))
    assert threading.active_count() <= threads + 1  # the one that tokenises
    engine.gate.set()
    answers = await asyncio.wait_for(asyncio.gather(*waiting), TIMEOUT)
    assert [answer[0].metadata["relevance_score"] for answer in answers] == [float(n) for n in range(1, 101)]


async def test_a_cancelled_request_leaves_the_others_correct_and_costs_nothing(gated):
    engine, scorer = gated
    reranker = FrenchCrossEncoderReranker(scorer=scorer, scale_score=False)

    def request(text):
        return asyncio.create_task(reranker.acompress_documents([Document(page_content=text)], QUERY))

    first = request("premier")
    await until(engine.started.is_set)
    left, kept = request("abandonné"), request("gardé")
    await until(lambda: scorer.snapshot().waiting_pairs == 2)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    engine.gate.set()
    answers = await asyncio.wait_for(asyncio.gather(first, kept), TIMEOUT)
    assert [answer[0].metadata["relevance_score"] for answer in answers] == [7.0, 5.0]
    assert "abandonné" not in [text for batch in engine.batches for text in batch]


async def test_a_late_answer_is_a_deadline_error_on_both_sides(gated):
    _, scorer = gated
    reranker = FrenchCrossEncoderReranker(scorer=scorer, timeout=0.05)
    cross_encoder = FrenchCrossEncoder(scorer=scorer, timeout=0.05)
    with pytest.raises(DeadlineExceededError):
        await reranker.acompress_documents(DOCUMENTS, QUERY)
    with pytest.raises(DeadlineExceededError):
        await asyncio.to_thread(reranker.compress_documents, DOCUMENTS, QUERY)
    with pytest.raises(DeadlineExceededError):
        await reranker.arerank(SENTENCES, QUERY)
    with pytest.raises(DeadlineExceededError):
        await cross_encoder.ascore([(QUERY, "a")])


async def test_a_late_answer_leaves_the_documents_as_they_are_if_failures_are_not_raised(gated):
    _, scorer = gated
    reranker = FrenchCrossEncoderReranker(scorer=scorer, timeout=0.05, raise_on_failure=False)
    assert await reranker.acompress_documents(DOCUMENTS, QUERY) == DOCUMENTS


def test_one_reranker_serves_one_event_loop_after_another():
    with BatchingScorer(LengthEngine()) as scorer:
        reranker = FrenchCrossEncoderReranker(scorer=scorer, scale_score=False)
        results = [asyncio.run(reranker.acompress_documents(DOCUMENTS, QUERY)) for _ in range(2)]
    assert results[0] == results[1]


def test_one_reranker_serves_event_loops_of_several_threads_at_once(tiny_model, no_model_left):
    reranker = FrenchCrossEncoderReranker(model=tiny_model, top_n=None)
    expected = reranker.compress_documents(DOCUMENTS, QUERY)
    together = threading.Barrier(4, timeout=TIMEOUT)
    results = []

    def serve():
        together.wait()
        results.append(asyncio.run(reranker.acompress_documents(DOCUMENTS, QUERY)))

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    reranker.close()
    assert [[document.id for document in result] for result in results] == [[d.id for d in expected]] * 4


@pytest.mark.parametrize("query", ["", " "])
async def test_empty_lists_and_blank_queries_load_nothing(query):
    reranker = FrenchCrossEncoderReranker(model="no/such-model")
    assert await reranker.acompress_documents([], QUERY) == []
    assert await reranker.acompress_documents(DOCUMENTS, query) == DOCUMENTS
    assert await FrenchCrossEncoder(model="no/such-model").ascore([]) == []
