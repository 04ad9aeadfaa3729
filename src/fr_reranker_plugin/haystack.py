"""The Haystack component, under this package's own name.

It is defined in `haystack_integrations.components.rankers.fr_reranker`: only from there does Haystack load it out of a
saved pipeline without further configuration.
"""

from fr_reranker_plugin.errors import MissingDependencyError

try:
    from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "haystack":
        raise
    raise MissingDependencyError(
        "fr_reranker_plugin.haystack needs haystack-ai: pip install 'fr-reranker-plugin[haystack]'"
    ) from error

__all__ = ["FrenchCrossEncoderRanker"]
