"""Clients that were written for other servers work unchanged, and find what the process itself finds."""

import asyncio
import gc

import cohere
import pytest
from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.rankers.cohere import CohereRanker
from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker, TruncationDirection
from haystack_integrations.components.rankers.jina import JinaRanker
from langchain_cohere import CohereRerank
from langchain_core.documents import Document as LangChainDocument
from rerankers.models.api_rankers import APIRanker

from engines import TIMEOUT
from fr_reranker_plugin import ModelSettings, SharedScorer, rank_by_score
from fr_reranker_plugin.serving import ApiKeys, ServerSettings
from serving.conftest import running

pytestmark = [  # several of these clients leave their connections open
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

KEY = "une-clef-de-test"
QUESTION = "Dans quel délai faut-il déclarer une naissance ?"
TEXTS = [
    "La naissance se déclare à la mairie dans les cinq jours.",
    "Le parc ferme à vingt heures.",
    "Été comme hiver, la bibliothèque ouvre à neuf heures.",
    "Le commissariat reçoit les plaintes.",
]


@pytest.fixture(scope="module")
def server(tiny_model: str):
    """A server that asks for a key."""
    with running(SharedScorer(ModelSettings(model=tiny_model)), ServerSettings(keys=ApiKeys([KEY]))) as server:
        yield server


@pytest.fixture(autouse=True)
def _connections_end_with_their_test():
    yield
    gc.collect()


@pytest.fixture(scope="module")
def expected(tiny_model: str) -> list[tuple[str, float]]:
    """The texts and their scores, best first, as this process finds them."""
    scorer = SharedScorer(ModelSettings(model=tiny_model))
    ranked = rank_by_score(scorer.score([(QUESTION, text) for text in TEXTS]))
    scorer.close()
    return [(TEXTS[one.index], one.score) for one in ranked]


def run_both(component, **arguments):
    """What a Haystack component gives when it is run, and when it is awaited."""

    async def awaited():
        try:
            return await component.run_async(**arguments)
        finally:
            if hasattr(component, "close_async"):
                await component.close_async()

    return [component.run(**arguments), asyncio.run(asyncio.wait_for(awaited(), TIMEOUT))]


def haystack_documents():
    return [Document(content=text) for text in TEXTS]


def found(answer):
    return [(document.content, document.score) for document in answer["documents"]]


def test_haystacks_tei_ranker(server, expected):
    ranker = HuggingFaceTEIRanker(url=server.url, token=Secret.from_token(KEY), top_k=3)
    for answer in run_both(ranker, query=QUESTION, documents=haystack_documents()):
        assert found(answer) == expected[:3]
    cut = ranker.run(QUESTION, haystack_documents(), truncation_direction=TruncationDirection.RIGHT)
    assert found(cut) == expected[:3]


def test_haystacks_tei_ranker_is_told_what_is_wrong(server):
    ranker = HuggingFaceTEIRanker(url=server.url, token=Secret.from_token("fausse"), max_retries=1)
    with pytest.raises(RuntimeError, match="unauthorized"):
        ranker.run(QUESTION, haystack_documents())


def test_haystacks_jina_ranker(server, expected):
    ranker = JinaRanker(base_url=f"{server.url}/v1/rerank", api_key=Secret.from_token(KEY), top_k=3)
    for answer in run_both(ranker, query=QUESTION, documents=haystack_documents()):
        assert found(answer) == expected[:3]
        assert answer["meta"]["usage"]["total_tokens"] > 0
    everything = JinaRanker(base_url=f"{server.url}/v1/rerank", api_key=Secret.from_token(KEY))
    assert found(everything.run(QUESTION, haystack_documents())) == expected


def test_haystacks_jina_ranker_is_told_what_is_wrong(server):
    ranker = JinaRanker(base_url=f"{server.url}/v1/rerank", api_key=Secret.from_token("fausse"))
    with pytest.raises(RuntimeError, match="asks for a key"):
        ranker.run(QUESTION, haystack_documents())


def test_haystacks_cohere_ranker(server, expected):
    ranker = CohereRanker(api_base_url=server.url, api_key=Secret.from_token(KEY), top_k=3)
    for answer in run_both(ranker, query=QUESTION, documents=haystack_documents()):
        assert found(answer) == expected[:3]
    assert found(ranker.run(QUESTION, [])) == []


def test_langchains_cohere_compressor(server, expected):
    compressor = CohereRerank(base_url=server.url, cohere_api_key=KEY, model="rerank-v3.5", top_n=3)
    documents = [LangChainDocument(text) for text in TEXTS]
    answer = compressor.compress_documents(documents, QUESTION)
    assert [(one.page_content, one.metadata["relevance_score"]) for one in answer] == expected[:3]


@pytest.mark.parametrize("client", [cohere.Client, cohere.ClientV2])
def test_coheres_own_client_in_both_versions(client, server, expected):
    answer = client(api_key=KEY, base_url=server.url).rerank(model="m", query=QUESTION, documents=TEXTS, top_n=2)
    assert [(TEXTS[one.index], one.relevance_score) for one in answer.results] == expected[:2]
    assert answer.meta.tokens.input_tokens > 0


def test_coheres_first_version_repeats_documents_where_it_is_asked_to(server, expected):
    client = cohere.Client(api_key=KEY, base_url=server.url)
    documents = [{"text": text} for text in TEXTS]
    answer = client.rerank(query=QUESTION, documents=documents, return_documents=True, rank_fields=["text"])
    assert [(one.document.text, one.relevance_score) for one in answer.results] == expected
    silent = client.rerank(query=QUESTION, documents=documents, max_chunks_per_doc=10)
    assert [one.document for one in silent.results] == [None] * len(TEXTS)


def test_documents_come_back_with_all_of_their_fields(server):
    sent = {"text": TEXTS[0], "source": None, "pages": [1, None]}
    body = {"query": QUESTION, "documents": [sent], "return_documents": True}
    headers = {"Authorization": f"Bearer {KEY}"}
    [answer] = server.post("/v1/rerank", body, headers=headers).json()["results"]
    assert answer["document"] == sent


def test_coheres_client_raises_its_own_errors(server):
    with pytest.raises(cohere.UnauthorizedError):
        cohere.ClientV2(api_key="fausse", base_url=server.url).rerank(model="m", query="q", documents=["t"])
    with pytest.raises(cohere.UnprocessableEntityError, match="top_n"):
        cohere.ClientV2(api_key=KEY, base_url=server.url).rerank(model="m", query="q", documents=["t"], top_n=0)


@pytest.mark.parametrize(
    ("provider", "path"), [("cohere", "/v1/rerank"), ("jina", "/v1/rerank"), ("text-embeddings-inference", "/rerank")]
)
def test_the_rerankers_library(provider, path, server, expected):
    ranker = APIRanker("m", KEY, provider, verbose=0, url=server.url + path)
    answer = ranker.rank(QUESTION, TEXTS)
    assert [(one.document.text, one.score) for one in answer.results] == expected
