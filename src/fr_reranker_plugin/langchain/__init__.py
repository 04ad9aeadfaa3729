"""LangChain: embeddings, vector store and retriever of the first stage; a document compressor and a cross-encoder.

All who name the same model share one copy of it. Only `langchain-core` is needed, and FAISS for the vector store.
`ContextualCompressionRetriever`, which takes the compressor, is in langchain-classic.
"""

from __future__ import annotations

from fr_reranker_plugin.errors import MissingDependencyError

try:
    import langchain_core  # noqa: F401 -- asked for here, so that the error below names the extra
except ModuleNotFoundError as error:
    raise MissingDependencyError(
        "fr_reranker_plugin.langchain needs langchain-core: pip install 'fr-reranker-plugin[langchain]'"
    ) from error

from fr_reranker_plugin.langchain.compressor import FrenchCrossEncoderReranker
from fr_reranker_plugin.langchain.cross_encoder import FrenchCrossEncoder
from fr_reranker_plugin.langchain.embeddings import FrenchEmbeddings
from fr_reranker_plugin.langchain.retriever import FrenchRerankRetriever
from fr_reranker_plugin.langchain.vector_store import FaissVectorStore

__all__ = [
    "FaissVectorStore",
    "FrenchCrossEncoder",
    "FrenchCrossEncoderReranker",
    "FrenchEmbeddings",
    "FrenchRerankRetriever",
]
