"""A FAISS index with its documents in one folder, as a document store of Haystack."""

from haystack_integrations.document_stores.fr_reranker.document_store import FaissDocumentStore

__all__ = ["FaissDocumentStore"]
