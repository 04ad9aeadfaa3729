"""Answer a question from the French sample collection with LangChain: find by meaning and by words, rerank, cite.

pip install -c constraints.txt '.[langchain,faiss]' langchain-classic openai
python examples/langchain_rag.py "Comment refaire une carte d'identité volée ?"

Runs offline and prints the prompt for a language model. To have it answered, name any OpenAI-compatible endpoint (vLLM,
llama.cpp, Ollama, a provider) in OPENAI_BASE_URL, its model in OPENAI_MODEL and, if it wants one, a key in
OPENAI_API_KEY. Nothing is sent anywhere unless OPENAI_BASE_URL is set.
"""

import os
import re
import sys
from pathlib import Path

from langchain_classic.retrievers import ContextualCompressionRetriever, EnsembleRetriever
from langchain_core.documents import Document
from langchain_core.messages import convert_to_openai_messages
from langchain_core.prompt_values import PromptValue
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda

from fr_reranker_plugin import LexicalIndex, StoredDocument
from fr_reranker_plugin.collections import load_collection
from fr_reranker_plugin.langchain import FaissVectorStore, FrenchCrossEncoderReranker, FrenchEmbeddings

COLLECTION = Path(__file__).parent / "sample_collection"
QUESTION = "On m'a volé ma carte d'identité : où porter plainte, et comment la faire refaire ?"
CANDIDATES = 50
CITED = 4
PROMPT = ChatPromptTemplate(
    [
        (
            "system",
            "Tu réponds en français aux questions des habitants, à l'aide des passages numérotés et de rien d'autre. "
            "Cite après chaque affirmation le numéro du passage qui la fonde, comme [1]. Si les passages ne répondent "
            "pas à la question, dis-le.",
        ),
        ("user", "{passages}\n\nQuestion : {question}"),
    ]
)


def load_documents() -> list[Document]:
    """The passages; the title is part of what is read."""
    passages = load_collection(COLLECTION).corpus
    return [Document(one.full_text, id=name, metadata={"title": one.title}) for name, one in passages.items()]


def by_words(documents: list[Document]) -> Runnable[str, list[Document]]:
    """A retriever of the documents that share words with a question, whatever their accents and endings."""
    named = {str(document.id): document for document in documents}
    index = LexicalIndex.build(StoredDocument(name, document.page_content) for name, document in named.items())
    return RunnableLambda(lambda question: [named[name] for name, _ in index.search([question], CANDIDATES)[0]])


def reranking_retriever(documents: list[Document]) -> ContextualCompressionRetriever:
    """Both retrievers, merged by reciprocal-rank fusion, and the cross-encoder on what they find."""
    store = FaissVectorStore.from_documents(documents, FrenchEmbeddings())  # store.save_local("index") keeps it
    by_meaning = store.as_retriever(search_kwargs={"k": CANDIDATES})
    return ContextualCompressionRetriever(
        base_retriever=EnsembleRetriever(retrievers=[by_meaning, by_words(documents)]),
        base_compressor=FrenchCrossEncoderReranker(model="embedded", first_stage_weight=0.5, top_n=CITED),
    )


def ask(prompt: PromptValue, endpoint: str) -> str:
    """Ask the endpoint; with langchain-openai, `ChatOpenAI(base_url=endpoint, ...)` does the same."""
    from openai import OpenAI

    key = os.environ.get("OPENAI_API_KEY") or "none"  # servers of one's own mostly want none, the client always does
    with OpenAI(base_url=endpoint, api_key=key) as client:
        completion = client.chat.completions.create(
            model=os.environ.get("OPENAI_MODEL") or "default",
            messages=convert_to_openai_messages(prompt.to_messages()),
        )
    return completion.choices[0].message.content or ""


def main(question: str = QUESTION) -> None:
    documents = reranking_retriever(load_documents()).invoke(question)
    passages = "\n\n".join(f"[{number}] {one.page_content}" for number, one in enumerate(documents, start=1))
    prompt = PROMPT.invoke({"passages": passages, "question": question})
    if endpoint := os.environ.get("OPENAI_BASE_URL"):
        answer = ask(prompt, endpoint)
        cited = {int(number) for number in re.findall(r"\[(\d+)\]", answer)}
        print(f"{question}\n\n{answer}\n\nPassages cités :")
    else:
        cited = set(range(1, len(documents) + 1))
        read = "\n\n".join(str(message.content) for message in prompt.to_messages())
        print(f"OPENAI_BASE_URL n'est pas défini ; voici ce qu'un modèle de langage lirait.\n\n{read}\n\nPassages :")
    for number, document in enumerate(documents, start=1):
        if number in cited:
            print(f"[{number}] {document.metadata['relevance_score']:.3f}  {document.id}  {document.metadata['title']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
