"""`rerank` in Cohere's shape, and the reranker as a step of an LCEL chain."""

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from engines import FailsOn, LengthEngine
from fr_reranker_plugin import BatchingScorer, ScoringError, SettingsError
from fr_reranker_plugin.langchain import FrenchCrossEncoderReranker
from fr_reranker_plugin.scoring.ranking import BLANK_LOGIT

QUERY = "Où demander un acte de naissance ?"


@pytest.fixture(scope="module")
def by_length():
    """A scorer whose logit is the length of the passage."""
    with BatchingScorer(LengthEngine()) as scorer:
        yield scorer


@pytest.fixture
def reranker(by_length):
    return FrenchCrossEncoderReranker(scorer=by_length, scale_score=False, top_n=2)


@pytest.fixture(params=["rerank", "arerank"])
def rerank(request, reranker):
    """Call the sync or the async method of a reranker and give its result."""

    async def call(*arguments, of=None, **options):
        answer = getattr(of or reranker, request.param)(*arguments, **options)
        return answer if request.param == "rerank" else await answer

    return call


async def test_index_and_score_of_the_best_come_first(rerank):
    assert await rerank(["aa", "aaaa", "a"], QUERY) == [
        {"index": 1, "relevance_score": 4.0},
        {"index": 0, "relevance_score": 2.0},
    ]


@pytest.mark.parametrize(("top_n", "kept"), [(-1, 2), (None, 4), (1, 1), (99, 4)])
async def test_minus_one_keeps_what_the_instance_says_and_none_keeps_all(rerank, top_n, kept):
    assert len(await rerank(["a", "b", "c", "d"], QUERY, top_n=top_n)) == kept


async def test_texts_documents_and_dictionaries_may_be_mixed(rerank):
    documents = [
        "a",
        Document(page_content="aaaaa"),
        {"text": "aaa"},
        {"page_content": "aaaa", "metadata": {"source": 1}},
        {"text": None},
    ]
    ranked = await rerank(documents, QUERY, top_n=None)
    assert [best["index"] for best in ranked] == [1, 3, 2, 0, 4]
    assert ranked[-1]["relevance_score"] == BLANK_LOGIT


async def test_metadata_is_read_from_documents_and_from_both_shapes_of_dictionary(rerank, by_length):
    reader = FrenchCrossEncoderReranker(scorer=by_length, scale_score=False, metadata_fields=["title"])
    documents = [
        Document(page_content="a", metadata={"title": "T"}),
        {"text": "a", "title": "TT"},
        {"text": "a", "metadata": {"title": "TTT"}},
    ]
    ranked = await rerank(documents, QUERY, of=reader)
    assert [(best["index"], best["relevance_score"]) for best in ranked] == [(2, 5.0), (1, 4.0), (0, 3.0)]


async def test_the_index_is_that_of_the_given_list_when_repetitions_are_left_out(rerank, by_length):
    deduplicating = FrenchCrossEncoderReranker(scorer=by_length, scale_score=False, deduplicate=True)
    documents = ["a", "a", {"id": 7, "text": "aa"}, {"id": 7, "text": "aaaa"}, "aaa"]
    assert [best["index"] for best in await rerank(documents, QUERY, of=deduplicating)] == [4, 2, 0]


@pytest.mark.parametrize(
    ("documents", "query", "options", "said"),
    [
        ([], QUERY, {"top_n": 0}, "top_n must be >= 1, but got 0"),
        ([], QUERY, {"top_n": True}, "whole number, got True"),
        ([], None, {}, "query must be a string, got NoneType"),
        ([3], QUERY, {}, "document 0 must be a string, a Document or a dictionary, got int"),
        (["a", {"body": "b"}], QUERY, {}, "document 1 must have its text under 'text' or 'page_content', got 'body'"),
        ([{}], QUERY, {}, "got no keys"),
        ([{"text": 3}], QUERY, {}, "text of document 0 must be a string, got int"),
        ("a text", QUERY, {}, "documents must be a list, got str"),
        (["a"], " ", {}, "query must not be blank"),
    ],
)
async def test_what_cannot_be_reranked_is_refused_before_anything_is_loaded(rerank, documents, query, options, said):
    with pytest.raises(SettingsError, match=said):
        await rerank(documents, query, of=FrenchCrossEncoderReranker(model="no/such-model"), **options)


async def test_no_documents_give_no_results_and_load_nothing(rerank):
    assert await rerank([], QUERY, of=FrenchCrossEncoderReranker(model="no/such-model")) == []


async def test_a_failure_is_raised_in_any_case(rerank):
    with BatchingScorer(FailsOn("mauvais")) as scorer, pytest.raises(ScoringError):
        await rerank(["mauvais"], QUERY, of=FrenchCrossEncoderReranker(scorer=scorer, raise_on_failure=False))


DOCUMENTS = [Document(page_content=text) for text in ("aa", "aaaa", "a")]


def texts_of(documents):
    return [document.page_content for document in documents]


async def test_a_chain_reranks_what_its_retriever_found(reranker):
    retriever = RunnableLambda(lambda query: DOCUMENTS)
    chain = {"documents": retriever, "query": RunnablePassthrough()} | reranker.as_runnable() | texts_of
    assert chain.invoke(QUERY) == ["aaaa", "aa"]
    assert await chain.ainvoke(QUERY) == ["aaaa", "aa"]
    assert chain.batch([QUERY] * 3) == [["aaaa", "aa"]] * 3
    assert await chain.abatch([QUERY] * 3) == [["aaaa", "aa"]] * 3


@pytest.mark.parametrize("given", [{"documents": []}, {"query": QUERY}, "a question"])
async def test_a_step_without_documents_or_query_says_what_it_needs(reranker, given):
    step = reranker.as_runnable()
    with pytest.raises(SettingsError, match="'documents' and 'query'"):
        step.invoke(given)
    with pytest.raises(SettingsError, match="'documents' and 'query'"):
        await step.ainvoke(given)
