"""Rerank what a LangChain retriever finds in the French sample collection; runs offline.

pip install -c constraints.txt '.[langchain]' langchain-classic
python examples/langchain_retriever.py
"""

import math
import re
import sys
from collections import Counter
from pathlib import Path

from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.runnables import Runnable, RunnableLambda

from fr_reranker_plugin.collections import load_collection
from fr_reranker_plugin.langchain import FrenchCrossEncoderReranker

COLLECTION = Path(__file__).parent / "sample_collection"
QUESTION = "On m'a volé ma carte d'identité : où porter plainte, et comment la faire refaire ?"


def words(text: str) -> set[str]:
    return set(re.findall(r"\w{3,}", text.lower()))


def first_stage(documents: list[Document], k: int = 50) -> Runnable[str, list[Document]]:
    """A retriever that needs nothing: the k passages that share the rarest words with the question."""
    found = [words(f"{document.metadata['title']} {document.page_content}") for document in documents]
    count = Counter(word for passage in found for word in passage)

    def search(question: str) -> list[Document]:
        weight = [sum(math.log(len(found) / count[word]) for word in words(question) & passage) for passage in found]
        best = sorted(range(len(found)), key=weight.__getitem__, reverse=True)
        return [documents[position] for position in best[:k]]

    return RunnableLambda(search)


def main(model: str = "embedded") -> None:
    corpus = load_collection(COLLECTION).corpus
    documents = [Document(p.text, id=name, metadata={"title": p.title}) for name, p in corpus.items()]
    search = first_stage(documents)
    reranker = FrenchCrossEncoderReranker(model=model, top_n=5, metadata_fields=["title"])
    retriever = ContextualCompressionRetriever(base_compressor=reranker, base_retriever=search)

    print(QUESTION, "\n\nFirst stage alone:")
    for document in search.invoke(QUESTION)[:5]:
        print("        ", document.metadata["title"])
    print("\nReranked:")
    for document in retriever.invoke(QUESTION):
        print(f"  {document.metadata['relevance_score']:.4f} ", document.metadata["title"])


if __name__ == "__main__":
    main(*sys.argv[1:])
