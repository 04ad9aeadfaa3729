"""French documents, stores and pipelines that the Haystack tests share."""

import os

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # read when haystack is first imported

from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

from checkpoints import SENTENCES
from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker

QUESTION = "Où porter plainte après un vol ?"
TIMEOUT = 60


def french_documents() -> list[Document]:
    """Give six documents of everyday public life."""
    return [Document(content=sentence, meta={"number": number}) for number, sentence in enumerate(SENTENCES)]


def many_documents(count: int, words: int = 12) -> list[Document]:
    """Give `count` different documents of about `words` words."""
    vocabulary = " ".join(SENTENCES).split()
    passages = (
        " ".join(vocabulary[(number + step * 7) % len(vocabulary)] for step in range(words)) for number in range(count)
    )
    return [Document(content=f"{number} {passage}", id=str(number)) for number, passage in enumerate(passages)]


def scores_by_id(documents: list[Document]) -> dict[str, float]:
    """Give the score of each document."""
    return {document.id: document.score for document in documents}


def filled_store(documents: list[Document] | None = None) -> InMemoryDocumentStore:
    """Give a store of its own that holds `documents`."""
    store = InMemoryDocumentStore(shared=False)
    store.write_documents(documents or french_documents())
    return store


def search_pipeline(ranker: FrenchCrossEncoderRanker) -> Pipeline:
    """Give a lexical retriever, connected to the ranker without naming sockets."""
    pipeline = Pipeline()
    pipeline.add_component("retriever", InMemoryBM25Retriever(filled_store(), top_k=6))
    pipeline.add_component("ranker", ranker)
    pipeline.connect("retriever", "ranker")
    return pipeline


def ask(pipeline: Pipeline, question: str = QUESTION) -> list[Document]:
    """Run a `search_pipeline`."""
    return pipeline.run(question_for(question))["ranker"]["documents"]


def question_for(question: str = QUESTION) -> dict[str, dict[str, str]]:
    """Give the inputs of a `search_pipeline`."""
    return {"retriever": {"query": question}, "ranker": {"query": question}}
