"""From a question to reranked documents: our retriever, and LangChain's own around our classes."""

import asyncio
from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever, EnsembleRetriever
from langchain_core.documents import Document
from langchain_core.load import dumpd
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_tests.integration_tests import RetrieversIntegrationTests
from pydantic import ValidationError

from adapters.langchain_runs import Recorder
from checkpoints import SENTENCES
from engines import FailsOn
from fr_reranker_plugin import BatchingScorer, FilterError, ScoringError, SettingsError, live_scorers
from fr_reranker_plugin.langchain import (
    FaissVectorStore,
    FrenchCrossEncoderReranker,
    FrenchEmbeddings,
    FrenchRerankRetriever,
)

QUESTION = "Où porter plainte après un vol ?"
QUESTIONS = [f"{word} ?" for sentence in SENTENCES for word in sentence.split()[:2]]
EMBEDDED = FrenchCrossEncoderReranker(model="embedded", top_n=4)


class Everything(BaseRetriever):
    """Finds all documents for any query."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document(text, id=str(at)) for at, text in enumerate(SENTENCES)]


class TestSuite(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self):
        return FrenchRerankRetriever

    @property
    def retriever_constructor_params(self):
        store = FaissVectorStore.from_texts(SENTENCES, FrenchEmbeddings())
        return {"first_stage": store, "reranker": EMBEDDED}

    @property
    def retriever_query_example(self):
        return QUESTION


@pytest.fixture(scope="module")
def store():
    made = FaissVectorStore.from_texts(
        SENTENCES, FrenchEmbeddings(), [{"number": n} for n in range(len(SENTENCES))], ids=[*map(str, range(6))]
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def retriever(store):
    yield FrenchRerankRetriever(first_stage=store, reranker=EMBEDDED)
    EMBEDDED.close()


def described(documents):
    """Ids and scores in their order."""
    return [document.id for document in documents], [document.metadata["relevance_score"] for document in documents]


def as_described(documents):
    """What `described` gives, as far as batches leave scores alone."""
    ids, scores = described(documents)
    return ids, pytest.approx(scores, abs=1e-4)


async def test_the_best_of_the_candidates_come_first_with_the_scores_of_the_reranker(store, retriever):
    expected = EMBEDDED.compress_documents(store.similarity_search(QUESTION, 50), QUESTION)
    assert "plainte" in expected[0].page_content
    for found in (retriever.invoke(QUESTION), await retriever.ainvoke(QUESTION)):
        assert described(found) == as_described(expected)
        assert [document.metadata["number"] for document in found] == [int(document.id) for document in found]


@pytest.mark.parametrize("first_stage", ["store", "retriever", "runnable", "ensemble"])
async def test_any_first_stage_will_do(store, first_stage):
    everything = Everything()
    stages = {
        "store": store, "retriever": everything, "runnable": RunnableLambda(everything.invoke),
        "ensemble": EnsembleRetriever(retrievers=[store.as_retriever(search_kwargs={"k": 6}), everything], id_key=None),
    }  # fmt: skip
    made = FrenchRerankRetriever(first_stage=stages[first_stage], reranker=EMBEDDED, k=2)
    for found in (made.invoke(QUESTION), await made.ainvoke(QUESTION), made.invoke(QUESTION, k=1)):
        assert "plainte" in found[0].page_content
    assert (len(made.invoke(QUESTION)), len(await made.ainvoke(QUESTION, k=1))) == (2, 1)


async def test_k_of_the_call_comes_before_that_of_the_retriever_and_that_before_top_n(store):
    without, with_k = (FrenchRerankRetriever(first_stage=store, reranker=EMBEDDED, k=k) for k in (None, 2))
    assert (len(without.invoke(QUESTION)), len(with_k.invoke(QUESTION))) == (4, 2)
    assert (len(with_k.invoke(QUESTION, k=5)), len(await with_k.ainvoke(QUESTION, k=3))) == (5, 3)
    assert len(with_k.bind(k=1).invoke(QUESTION)) == 1
    all_of_them = EMBEDDED.model_copy(update={"top_n": None})
    assert len(FrenchRerankRetriever(first_stage=store, reranker=all_of_them).invoke(QUESTION)) == len(SENTENCES)
    all_of_them.close()


async def test_only_candidates_are_ranked_and_there_are_at_least_as_many_as_are_given(store):
    nearest = {document.id for document in store.similarity_search(QUESTION, 2)}
    few = FrenchRerankRetriever(first_stage=store, reranker=EMBEDDED, candidates=2, k=1)
    assert {document.id for document in few.invoke(QUESTION, k=2)} == nearest
    assert few.invoke(QUESTION)[0].id in nearest
    assert (len(few.invoke(QUESTION, k=5)), len(await few.ainvoke(QUESTION, k=5))) == (5, 5)
    first = FrenchRerankRetriever(first_stage=Everything(), reranker=EMBEDDED, candidates=2, k=1)
    assert first.invoke(QUESTION)[0].id in {"0", "1"}


async def test_a_filter_of_the_call_is_exact_and_needs_a_store(retriever):
    below = {"number": {"$lt": 2}}
    for found in (retriever.invoke(QUESTION, filter=below), await retriever.ainvoke(QUESTION, filter=below)):
        assert {document.metadata["number"] for document in found} == {0, 1}
    with pytest.raises(FilterError, match="between"):
        retriever.invoke(QUESTION, filter={"number": {"$between": 1}})
    plain = FrenchRerankRetriever(first_stage=Everything(), reranker=EMBEDDED)
    with pytest.raises(SettingsError, match="needs a vector store"):
        await plain.ainvoke(QUESTION, filter=below)


@pytest.mark.parametrize("k", [0, -1, True, 2.0, "3"])
async def test_a_k_that_is_none_is_refused_before_anything_is_searched(store, k):
    class Never(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            raise AssertionError("searched")

    with pytest.raises(ValidationError, match="k"):
        FrenchRerankRetriever(first_stage=store, k=k)
    made = FrenchRerankRetriever(first_stage=Never(), reranker=EMBEDDED)
    with pytest.raises(SettingsError, match="k must be"):
        made.invoke(QUESTION, k=k)
    with pytest.raises(SettingsError, match="k must be"):
        await made.ainvoke(QUESTION, k=k)


@pytest.mark.parametrize("wrong", [{"top_k": 3}, {"candidates": 0}, {"first_stage": "index"}, {"reranker": None}])
def test_a_field_that_does_not_exist_or_cannot_be_followed_is_refused(store, wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        FrenchRerankRetriever(**{"first_stage": store, **wrong})


async def test_a_blank_question_gives_as_many_as_asked_for_unranked(retriever, caplog):
    for found in (retriever.invoke(" ", k=2), await retriever.ainvoke(" ", k=2)):
        assert len(found) == 2
        assert "relevance_score" not in found[0].metadata
    assert "blank" in caplog.text


async def test_nothing_found_gives_nothing_and_loads_no_cross_encoder(tiny_model, no_model_left):
    empty = FaissVectorStore(FrenchEmbeddings())
    made = FrenchRerankRetriever(first_stage=empty, reranker=FrenchCrossEncoderReranker(model=tiny_model))
    before = live_scorers()
    assert made.invoke(QUESTION) == await made.ainvoke(QUESTION) == []
    assert live_scorers() == before


async def test_many_questions_at_once_get_what_each_gets_alone(retriever):
    alone = [as_described(retriever.invoke(question)) for question in QUESTIONS]
    together = await asyncio.gather(*(retriever.ainvoke(question) for question in QUESTIONS))
    for results in (together, retriever.batch(QUESTIONS), await retriever.abatch(QUESTIONS)):
        assert [described(result) for result in results] == alone


async def test_a_tracer_sees_both_stages_under_the_run_of_the_retriever(retriever):
    tracer = Recorder()
    retriever.invoke(QUESTION, {"callbacks": [tracer], "tags": ["mine"]}, k=2)
    await retriever.ainvoke(QUESTION, {"callbacks": [tracer], "tags": ["mine"]}, k=2)
    assert len(tracer.roots) == 2
    for root in tracer.roots:
        assert root.name == "FrenchRerankRetriever"
        assert [run.name for run in root.child_runs] == ["VectorStoreRetriever", "FrenchCrossEncoderReranker"]
        assert all("mine" in run.tags for run in root.child_runs)
        assert len(root.child_runs[0].outputs["documents"]) == len(SENTENCES)
        assert root.child_runs[1].outputs == root.outputs
        assert len(root.outputs["documents"]) == 2


async def test_a_failure_of_the_reranking_is_raised_and_seen(store):
    tracer = Recorder()
    with BatchingScorer(FailsOn("mairie")) as scorer:
        made = FrenchRerankRetriever(first_stage=store, reranker=FrenchCrossEncoderReranker(scorer=scorer))
        with pytest.raises(ScoringError):
            made.invoke(QUESTION, {"callbacks": [tracer]})
        with pytest.raises(ScoringError):
            await made.ainvoke(QUESTION, {"callbacks": [tracer]})
    for root in tracer.roots:
        assert [bool(run.error) for run in (root, *root.child_runs)] == [True, False, True]


def test_k_is_a_field_that_a_chain_can_configure_and_the_retriever_is_described_for_tracers(retriever):
    chosen = retriever.configurable_fields(k=ConfigurableField(id="k"))
    assert len(chosen.invoke(QUESTION, {"configurable": {"k": 1}})) == 1
    chain = retriever | RunnableLambda(lambda documents: [document.id for document in documents])
    assert chain.invoke(QUESTION) == [document.id for document in retriever.invoke(QUESTION)]
    assert dumpd(retriever)["id"][-1] == "FrenchRerankRetriever"


async def test_contextual_compression_over_the_store_gives_the_same(store, retriever):
    theirs = ContextualCompressionRetriever(
        base_compressor=EMBEDDED, base_retriever=store.as_retriever(search_kwargs={"k": 50})
    )
    for found in (theirs.invoke(QUESTION), await theirs.ainvoke(QUESTION)):
        assert described(found) == as_described(retriever.invoke(QUESTION))


@pytest.mark.parametrize("top_n", [1, 2, None, -1])
async def test_the_compressor_takes_top_n_per_call(top_n):
    found = Everything().invoke(QUESTION)
    wanted = {None: 6, -1: 4}.get(top_n, top_n)
    assert len(EMBEDDED.compress_documents(found, QUESTION, top_n=top_n)) == wanted
    assert len(await EMBEDDED.acompress_documents(found, QUESTION, top_n=top_n)) == wanted


@pytest.mark.parametrize("documents", [[], Everything().invoke(QUESTION)], ids=["none", "some"])
async def test_the_compressor_refuses_a_top_n_that_is_none(documents):
    for top_n in (0, -2, True, 1.5):
        with pytest.raises(SettingsError, match="top_n"):
            EMBEDDED.compress_documents(documents, QUESTION, top_n=top_n)
        with pytest.raises(SettingsError, match="top_n"):
            await EMBEDDED.acompress_documents(documents, QUESTION, top_n=top_n)
