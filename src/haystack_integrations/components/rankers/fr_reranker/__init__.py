"""A French cross-encoder as a ranker for Haystack pipelines."""

from haystack_integrations.components.rankers.fr_reranker.ranker import FrenchCrossEncoderRanker

__all__ = ["FrenchCrossEncoderRanker"]
