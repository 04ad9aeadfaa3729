"""Haystack and LangChain in one process: the same scores out of one model in memory."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.documents import Document as LangChainDocument

from adapters.haystack_documents import QUESTION, TIMEOUT, ask, french_documents, search_pipeline
from checkpoints import SENTENCES
from fr_reranker_plugin import live_scorers
from fr_reranker_plugin.langchain import (
    FaissVectorStore,
    FrenchCrossEncoder,
    FrenchCrossEncoderReranker,
    FrenchEmbeddings,
)
from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker
from haystack_integrations.document_stores.fr_reranker import FaissDocumentStore

THREADS = 8


@pytest.fixture
def ranker(tiny_model, no_model_left):
    made = FrenchCrossEncoderRanker(model=tiny_model, top_k=None)
    yield made
    made.close()


@pytest.fixture
def reranker(tiny_model, no_model_left):
    made = FrenchCrossEncoderReranker(model=tiny_model, top_n=None)
    yield made
    made.close()


def haystack_scores(documents):
    return {document.content: document.score for document in documents}


def langchain_scores(documents):
    return {document.page_content: document.metadata["relevance_score"] for document in documents}


def compress(reranker):
    return reranker.compress_documents([LangChainDocument(page_content=text) for text in SENTENCES], QUESTION)


@pytest.mark.parametrize("scale_score", [True, False])
def test_the_same_texts_get_the_same_scores_from_one_model(ranker, reranker, loads, scale_score):
    reranker.scale_score = scale_score
    ours = langchain_scores(compress(reranker))
    theirs = haystack_scores(ranker.run(QUESTION, french_documents(), scale_score=scale_score)["documents"])
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert list(ours) == list(theirs)
    assert (len(loads), live_scorers()) == (1, 1)


def test_eight_threads_two_pipelines_and_a_compressor_start_cold_on_one_load(ranker, reranker, tiny_model, loads):
    second = FrenchCrossEncoderRanker(model=tiny_model, top_k=None)
    pipelines = search_pipeline(ranker), search_pipeline(second)
    doors = [
        lambda: haystack_scores(ask(pipelines[0])),
        lambda: haystack_scores(ask(pipelines[1])),
        lambda: langchain_scores(compress(reranker)),
    ]
    together = threading.Barrier(THREADS * len(doors), timeout=TIMEOUT)

    def start_together(door):
        together.wait()
        return door()

    with ThreadPoolExecutor(together.parties) as pool:
        results = list(pool.map(start_together, doors * THREADS, timeout=TIMEOUT))
    assert (len(loads), live_scorers()) == (1, 1)
    expected = langchain_scores(compress(reranker))
    for scores in results:
        assert scores == pytest.approx({text: expected[text] for text in scores}, abs=1e-4)
        assert scores
    second.close()


def test_closing_one_leaves_the_other_working(ranker, reranker, loads):
    before = haystack_scores(ranker.run(QUESTION, french_documents())["documents"])
    reranker.warm_up()
    reranker.close()
    assert haystack_scores(ranker.run(QUESTION, french_documents())["documents"]) == before
    reranker.warm_up()
    ranker.close()
    assert langchain_scores(compress(reranker)) == pytest.approx(before, abs=1e-4)
    assert (len(loads), live_scorers()) == (1, 1)


async def test_both_at_once_on_one_event_loop_give_what_each_gives_alone(ranker, reranker, tiny_model):
    cross_encoder = FrenchCrossEncoder(model=tiny_model)
    expected = langchain_scores(compress(reranker))
    for _ in range(5):
        haystack, langchain, scores = await asyncio.gather(
            ranker.run_async(QUESTION, french_documents()),
            reranker.acompress_documents([LangChainDocument(page_content=text) for text in SENTENCES], QUESTION),
            cross_encoder.ascore([(QUESTION, text) for text in SENTENCES]),
        )
        assert haystack_scores(haystack["documents"]) == pytest.approx(expected, abs=1e-4)
        assert langchain_scores(langchain) == pytest.approx(expected, abs=1e-4)
        assert dict(zip(SENTENCES, scores, strict=True)) == pytest.approx(expected, abs=1e-4)
    assert live_scorers() == 1
    cross_encoder.close()


def test_a_folder_that_langchain_saved_is_searched_by_haystack_with_the_same_scores_and_filters(tmp_path):
    store = FaissVectorStore.from_texts(SENTENCES, FrenchEmbeddings(), [{"number": n} for n in range(len(SENTENCES))])
    store.save_local(tmp_path)
    same = FaissDocumentStore.load(tmp_path, read_only=True)
    asked = FrenchEmbeddings().embed_query(QUESTION)
    below = {"field": "meta.number", "operator": "<", "value": 4}
    for filters in (None, below):
        theirs = [
            (document.id, document.content, document.meta) for document in same.embedding_retrieval(asked, filters)
        ]
        ours = store.similarity_search_with_score(QUESTION, 10, filters)
        assert [(document.id, document.page_content, document.metadata) for document, _ in ours] == theirs
        scores = [document.score for document in same.embedding_retrieval(asked, filters)]
        assert [score for _, score in ours] == pytest.approx(scores, abs=1e-5)
    assert store.similarity_search(QUESTION, 9, below) == store.similarity_search(QUESTION, 9, {"number": {"$lt": 4}})
    same.close()
    store.close()
