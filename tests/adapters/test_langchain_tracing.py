"""What a tracer sees of a reranking: one run of its own, under the run it was asked in."""

import asyncio
import json

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from adapters.langchain_runs import Recorder
from engines import TIMEOUT, FailsOn, GatedEngine, LengthEngine
from fr_reranker_plugin import BatchingScorer, ScoringError
from fr_reranker_plugin.langchain import FrenchCrossEncoderReranker

QUERY = "Où demander un acte de naissance ?"
DOCUMENTS = [Document(page_content=text) for text in ("a", "aaa…", "aa", "a")]
NAME = "FrenchCrossEncoderReranker"


@pytest.fixture(scope="module")
def by_length():
    """A scorer whose logit is the length of the passage."""
    with BatchingScorer(LengthEngine()) as scorer:
        yield scorer


@pytest.fixture(params=["compress_documents", "acompress_documents"])
def compress(request):
    """Call the sync or the async method of a reranker and give its result."""

    async def call(reranker, *arguments, **options):
        answer = getattr(reranker, request.param)(*arguments, **options)
        return answer if request.param == "compress_documents" else await answer

    return call


async def test_a_reranking_is_one_run_with_its_documents(compress, by_length):
    tracer = Recorder()
    reranker = FrenchCrossEncoderReranker(scorer=by_length, top_n=2)
    ranked = await compress(reranker, DOCUMENTS, QUERY, callbacks=[tracer])
    (run,) = tracer.roots
    assert (run.name, run.run_type, run.error) == (NAME, "retriever", None)
    assert run.inputs == {"query": QUERY}
    assert run.outputs == {"documents": ranked}
    assert run.end_time is not None
    assert run.child_runs == []


async def test_the_run_tells_the_model_and_counts_pairs_documents_and_cut_documents(compress, by_length):
    tracer = Recorder()
    await compress(FrenchCrossEncoderReranker(scorer=by_length), DOCUMENTS, QUERY, callbacks=[tracer])
    metadata = tracer.roots[0].extra["metadata"]
    assert {name: metadata[name] for name in metadata if name.startswith("fr_reranker.")} == {
        "fr_reranker.model": "BatchingScorer",
        "fr_reranker.documents": 4,
        "fr_reranker.pairs": 3,
        "fr_reranker.truncated": 1,
    }
    json.dumps(metadata)


async def test_the_model_of_the_run_is_the_one_that_was_named(compress, tiny_model, no_model_left):
    tracer = Recorder()
    reranker = FrenchCrossEncoderReranker(model=tiny_model)
    await compress(reranker, DOCUMENTS, QUERY, callbacks=[tracer])
    reranker.close()
    assert tracer.roots[0].extra["metadata"]["fr_reranker.model"] == tiny_model


@pytest.mark.parametrize("raise_on_failure", [True, False])
async def test_a_failure_is_a_run_with_that_error(compress, raise_on_failure):
    tracer = Recorder()
    with BatchingScorer(FailsOn("aaa")) as scorer:
        reranker = FrenchCrossEncoderReranker(scorer=scorer, raise_on_failure=raise_on_failure)
        if raise_on_failure:
            with pytest.raises(ScoringError):
                await compress(reranker, DOCUMENTS, QUERY, callbacks=[tracer])
        else:
            assert await compress(reranker, DOCUMENTS, QUERY, callbacks=[tracer]) == DOCUMENTS
    (run,) = tracer.roots
    assert "ScoringError" in run.error
    assert run.end_time is not None


async def test_a_model_that_cannot_be_loaded_is_a_run_with_that_error(compress):
    tracer = Recorder()
    reranker = FrenchCrossEncoderReranker(model="./no-such-folder", raise_on_failure=False)
    assert await compress(reranker, DOCUMENTS, QUERY, callbacks=[tracer]) == DOCUMENTS
    assert "ModelLoadError" in tracer.roots[0].error


async def test_a_cancelled_request_does_not_leave_its_run_open():
    tracer, engine = Recorder(), GatedEngine()
    with BatchingScorer(engine) as scorer:
        reranker = FrenchCrossEncoderReranker(scorer=scorer)
        request = asyncio.create_task(reranker.acompress_documents(DOCUMENTS, QUERY, callbacks=[tracer]))
        async with asyncio.timeout(TIMEOUT):
            while not engine.started.is_set():
                await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        engine.gate.set()
    assert "CancelledError" in tracer.roots[0].error


async def test_nothing_is_traced_where_nothing_is_ranked(compress, by_length):
    tracer = Recorder()
    reranker = FrenchCrossEncoderReranker(scorer=by_length)
    await compress(reranker, [], QUERY, callbacks=[tracer])
    await compress(reranker, DOCUMENTS, " ", callbacks=[tracer])
    assert tracer.roots == []


async def test_callbacks_may_be_none(compress, by_length):
    assert len(await compress(FrenchCrossEncoderReranker(scorer=by_length), DOCUMENTS, QUERY, callbacks=None)) == 3


async def test_plain_handlers_sync_and_async_are_told_of_start_and_end(compress, by_length):
    told = []

    class Plain(BaseCallbackHandler):
        def on_retriever_start(self, serialized, query, **kwargs):
            told.append(("start", query, kwargs["name"]))

        def on_retriever_end(self, documents, **kwargs):
            told.append(("end", len(documents)))

    class Awaited(AsyncCallbackHandler):
        async def on_retriever_start(self, serialized, query, **kwargs):
            told.append(("start", query, kwargs["name"]))

        async def on_retriever_end(self, documents, **kwargs):
            told.append(("end", len(documents)))

    for handler in (Plain(), Awaited()):
        await compress(FrenchCrossEncoderReranker(scorer=by_length), DOCUMENTS, QUERY, callbacks=[handler])
        assert told == [("start", QUERY, NAME), ("end", 3)]
        told.clear()


async def test_the_step_of_a_chain_has_the_reranking_under_it(by_length):
    chain = RunnableLambda(lambda query: {"documents": DOCUMENTS, "query": query}) | (
        FrenchCrossEncoderReranker(scorer=by_length).as_runnable()
    )
    tracer = Recorder()
    chain.invoke(QUERY, {"callbacks": [tracer]})
    await chain.ainvoke(QUERY, {"callbacks": [tracer]})
    for root in tracer.roots:
        step = root.child_runs[1]
        assert (step.name, step.run_type) == (NAME, "chain")
        assert [(run.name, run.run_type) for run in step.child_runs] == [(NAME, "retriever")]
