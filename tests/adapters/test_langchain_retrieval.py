"""The LangChain classes inside langchain-classic: behind a retriever, in its reranker, in a pipeline."""

import asyncio
from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker, DocumentCompressorPipeline
from langchain_core.documents import BaseDocumentTransformer, Document
from langchain_core.retrievers import BaseRetriever

from adapters.langchain_runs import Recorder
from checkpoints import SENTENCES
from engines import FailsOn
from fr_reranker_plugin import BatchingScorer, ScoringError
from fr_reranker_plugin.langchain import FrenchCrossEncoder, FrenchCrossEncoderReranker

QUERIES = [f"{word} ?" for sentence in SENTENCES for word in sentence.split()[:5]]


class Everything(BaseRetriever):
    """Finds all documents for any query but the empty one, in an order that the query decides."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        shift = len(query) % len(SENTENCES)
        numbered = [*enumerate(SENTENCES[shift:], shift), *enumerate(SENTENCES[:shift])]
        return [Document(page_content=text, id=str(at), metadata={"source": at}) for at, text in numbered if query]


class Upper(BaseDocumentTransformer):
    """Writes documents in capitals."""

    def transform_documents(self, documents, **kwargs):
        return [document.model_copy(update={"page_content": document.page_content.upper()}) for document in documents]


@pytest.fixture
def reranker(tiny_model, no_model_left):
    made = FrenchCrossEncoderReranker(model=tiny_model)
    yield made
    made.close()


@pytest.fixture
def retriever(reranker):
    return ContextualCompressionRetriever(base_compressor=reranker, base_retriever=Everything())


def described(documents):
    """Ids in their order, and scores as far as batches leave them alone."""
    scores = [round(document.metadata["relevance_score"], 4) for document in documents]
    return [document.id for document in documents], pytest.approx(scores, abs=2e-4)


async def test_the_retriever_gives_the_best_documents_sync_and_async(retriever, reranker):
    found = Everything().invoke(QUERIES[0])
    expected = reranker.compress_documents(found, QUERIES[0])
    assert retriever.invoke(QUERIES[0]) == await retriever.ainvoke(QUERIES[0]) == expected
    scores = [document.metadata["relevance_score"] for document in expected]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert all(document.metadata["source"] == int(document.id) for document in expected)


async def test_nothing_found_gives_nothing(retriever):
    assert retriever.invoke("") == await retriever.ainvoke("") == []


async def test_batches_and_many_at_once_give_what_each_query_gives_alone(retriever):
    alone = [described(retriever.invoke(query)) for query in QUERIES]
    for results in (
        retriever.batch(QUERIES),
        await retriever.abatch(QUERIES),
        await asyncio.gather(*(retriever.ainvoke(query) for query in QUERIES)),
    ):
        for (ids, scores), result in zip(alone, results, strict=True):
            assert [document.id for document in result] == ids
            assert [document.metadata["relevance_score"] for document in result] == scores


async def test_a_tracer_sees_the_reranking_under_the_run_of_the_retriever(retriever):
    tracer = Recorder()
    retriever.invoke(QUERIES[0], {"callbacks": [tracer]})
    await retriever.ainvoke(QUERIES[0], {"callbacks": [tracer]})
    assert len(tracer.roots) == 2
    for root in tracer.roots:
        assert [run.name for run in root.child_runs] == ["Everything", "FrenchCrossEncoderReranker"]
        assert root.child_runs[1].outputs == root.outputs


async def test_a_tracer_sees_the_failure_of_the_reranking():
    tracer = Recorder()
    with BatchingScorer(FailsOn("mairie")) as scorer:
        retriever = ContextualCompressionRetriever(
            base_compressor=FrenchCrossEncoderReranker(scorer=scorer), base_retriever=Everything()
        )
        with pytest.raises(ScoringError):
            retriever.invoke(QUERIES[0], {"callbacks": [tracer]})
        with pytest.raises(ScoringError):
            await retriever.ainvoke(QUERIES[0], {"callbacks": [tracer]})
    for root in tracer.roots:
        assert [bool(run.error) for run in (root, *root.child_runs)] == [True, False, True]


def test_the_cross_encoder_works_in_the_reranker_of_langchain(tiny_model, reranker):
    cross_encoder = FrenchCrossEncoder(model=tiny_model)
    theirs = CrossEncoderReranker(model=cross_encoder, top_n=3)
    found = Everything().invoke(QUERIES[0])
    assert [document.id for document in theirs.compress_documents(found, QUERIES[0])] == [
        document.id for document in reranker.compress_documents(found, QUERIES[0])
    ]
    cross_encoder.close()


async def test_the_reranker_is_a_step_of_a_compressor_pipeline(reranker):
    pipeline = DocumentCompressorPipeline(transformers=[Upper(), reranker, reranker.model_copy(update={"top_n": 1})])
    found = Everything().invoke(QUERIES[0])
    tracer = Recorder()
    (best,) = pipeline.compress_documents(found, QUERIES[0], callbacks=[tracer])
    assert await pipeline.acompress_documents(found, QUERIES[0], callbacks=[tracer]) == [best]
    assert best.page_content.isupper()
    assert [run.name for run in tracer.roots] == ["FrenchCrossEncoderReranker"] * 4
    pipeline.transformers[2].close()
