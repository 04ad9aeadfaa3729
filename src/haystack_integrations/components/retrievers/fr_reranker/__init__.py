"""The retriever of the FAISS document store, and retrieval with reranking as one component, for Haystack pipelines."""

from haystack_integrations.components.retrievers.fr_reranker.embedding_retriever import FaissEmbeddingRetriever
from haystack_integrations.components.retrievers.fr_reranker.retrieve_and_rerank import FrenchRetrieveAndRerank

__all__ = ["FaissEmbeddingRetriever", "FrenchRetrieveAndRerank"]
