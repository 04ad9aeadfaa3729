"""The Haystack components, under this package's own name.

They are defined in `haystack_integrations`, each where Haystack expects its kind: only from there does Haystack load
them out of a saved pipeline without further configuration.
"""

from fr_reranker_plugin.errors import MissingDependencyError

try:
    from haystack_integrations.components.embedders.fr_reranker import FrenchDocumentEmbedder, FrenchTextEmbedder
    from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker
    from haystack_integrations.components.retrievers.fr_reranker import FaissEmbeddingRetriever, FrenchRetrieveAndRerank
    from haystack_integrations.document_stores.fr_reranker import FaissDocumentStore
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "haystack":
        raise
    raise MissingDependencyError(
        "fr_reranker_plugin.haystack needs haystack-ai: pip install 'fr-reranker-plugin[haystack]'"
    ) from error

__all__ = [
    "FaissDocumentStore",
    "FaissEmbeddingRetriever",
    "FrenchCrossEncoderRanker",
    "FrenchDocumentEmbedder",
    "FrenchRetrieveAndRerank",
    "FrenchTextEmbedder",
]
