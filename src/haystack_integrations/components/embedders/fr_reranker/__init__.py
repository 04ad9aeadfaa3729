"""A French bi-encoder as embedders for Haystack pipelines."""

from haystack_integrations.components.embedders.fr_reranker.document_embedder import FrenchDocumentEmbedder
from haystack_integrations.components.embedders.fr_reranker.text_embedder import FrenchTextEmbedder

__all__ = ["FrenchDocumentEmbedder", "FrenchTextEmbedder"]
