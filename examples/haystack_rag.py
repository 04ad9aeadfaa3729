"""Answer a question from the French sample collection with Haystack: find by meaning and by words, rerank, cite.

pip install -c constraints.txt '.[haystack,faiss]'
python examples/haystack_rag.py "Comment refaire une carte d'identité volée ?"

Runs offline and prints the prompt for a language model. To have it answered, name any OpenAI-compatible endpoint (vLLM,
llama.cpp, Ollama, a provider) in OPENAI_BASE_URL, its model in OPENAI_MODEL and, if it wants one, a key in
OPENAI_API_KEY. Nothing is sent anywhere unless OPENAI_BASE_URL is set.
"""

import os
import re
import sys
from pathlib import Path

from haystack import Document, Pipeline, component
from haystack.components.builders import ChatPromptBuilder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.components.joiners import DocumentJoiner
from haystack.components.writers import DocumentWriter
from haystack.dataclasses import ChatMessage
from haystack.utils import Secret

from fr_reranker_plugin import LexicalIndex, StoredDocument
from fr_reranker_plugin.collections import load_collection
from fr_reranker_plugin.haystack import (
    FaissDocumentStore,
    FaissEmbeddingRetriever,
    FrenchCrossEncoderRanker,
    FrenchDocumentEmbedder,
    FrenchTextEmbedder,
)

COLLECTION = Path(__file__).parent / "sample_collection"
QUESTION = "On m'a volé ma carte d'identité : où porter plainte, et comment la faire refaire ?"
CANDIDATES = 50
CITED = 4
INSTRUCTION = """\
Tu réponds en français aux questions des habitants, à l'aide des passages numérotés et de rien d'autre. Cite après
chaque affirmation le numéro du passage qui la fonde, comme [1]. Si les passages ne répondent pas, dis-le."""
TEMPLATE = """\
{% for document in documents -%}
[{{ loop.index }}] {{ document.content }}

{% endfor -%}
Question : {{ question }}"""


@component
class FrenchBM25Retriever:
    """Finds the documents of a store that share words with a question, whatever their accents and endings."""

    def __init__(self, store: FaissDocumentStore, top_k: int) -> None:
        self._documents = {document.id: document for document in store.filter_documents()}
        self._index = LexicalIndex.build(StoredDocument(name, one.content) for name, one in self._documents.items())
        self._top_k = top_k

    @component.output_types(documents=list[Document])
    def run(self, query: str) -> dict[str, list[Document]]:
        [found] = self._index.search([query], self._top_k)
        return {"documents": [self._documents[name] for name, _ in found]}


def index_collection() -> FaissDocumentStore:
    """Embed the passages; the title is part of what is read."""
    store = FaissDocumentStore()  # in memory; FaissDocumentStore("index") and store.save() keep it in a folder
    indexing = Pipeline()
    indexing.add_component("embedder", FrenchDocumentEmbedder())
    indexing.add_component("writer", DocumentWriter(store))
    indexing.connect("embedder", "writer")
    passages = load_collection(COLLECTION).corpus
    documents = [Document(id=name, content=one.full_text, meta={"title": one.title}) for name, one in passages.items()]
    indexing.run({"embedder": {"documents": documents}})
    return store


def search_pipeline(store: FaissDocumentStore) -> Pipeline:
    """Connect both retrievers through reciprocal-rank fusion to the ranker, and the ranker to the prompt."""
    messages = [ChatMessage.from_system(INSTRUCTION), ChatMessage.from_user(TEMPLATE)]
    pipeline = Pipeline()
    pipeline.add_component("embedder", FrenchTextEmbedder())
    pipeline.add_component("by_meaning", FaissEmbeddingRetriever(store, top_k=CANDIDATES))
    pipeline.add_component("by_words", FrenchBM25Retriever(store, top_k=CANDIDATES))
    pipeline.add_component("fusion", DocumentJoiner(join_mode="reciprocal_rank_fusion", top_k=CANDIDATES))
    ranker = FrenchCrossEncoderRanker(model="embedded", first_stage_weight=0.5, top_k=CITED)
    pipeline.add_component("ranker", ranker)
    pipeline.add_component("prompt", ChatPromptBuilder(messages, required_variables="*"))
    pipeline.connect("embedder.embedding", "by_meaning.query_embedding")
    pipeline.connect("by_meaning", "fusion")
    pipeline.connect("by_words", "fusion")
    pipeline.connect("fusion", "ranker")
    pipeline.connect("ranker", "prompt.documents")
    return pipeline


def add_generator(pipeline: Pipeline, endpoint: str) -> None:
    key = os.environ.get("OPENAI_API_KEY") or "none"  # servers of one's own mostly want none, the client always does
    model = os.environ.get("OPENAI_MODEL") or "default"
    generator = OpenAIChatGenerator(Secret.from_token(key), model=model, api_base_url=endpoint)
    pipeline.add_component("generator", generator)
    pipeline.connect("prompt", "generator")


def main(question: str = QUESTION) -> None:
    pipeline = search_pipeline(index_collection())
    if endpoint := os.environ.get("OPENAI_BASE_URL"):
        add_generator(pipeline, endpoint)
    inputs = {
        "embedder": {"text": question},
        "by_words": {"query": question},
        "ranker": {"query": question},
        "prompt": {"question": question},
    }
    result = pipeline.run(inputs, include_outputs_from={"ranker", "prompt"})
    documents = result["ranker"]["documents"]
    if endpoint:
        answer = result["generator"]["replies"][0].text or ""
        cited = {int(number) for number in re.findall(r"\[(\d+)\]", answer)}
        print(f"{question}\n\n{answer}\n\nPassages cités :")
    else:
        cited = set(range(1, len(documents) + 1))
        prompt = "\n\n".join(message.text or "" for message in result["prompt"]["prompt"])
        print(f"OPENAI_BASE_URL n'est pas défini ; voici ce qu'un modèle de langage lirait.\n\n{prompt}\n\nPassages :")
    for number, document in enumerate(documents, start=1):
        if number in cited:
            print(f"[{number}] {document.score:.3f}  {document.id}  {document.meta['title']}")
    pipeline.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
