"""LangChain: a document compressor and a cross-encoder, both on the one shared scorer of the process.

Only `langchain-core` is needed. `ContextualCompressionRetriever`, which takes the compressor, is in langchain-classic.
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

__all__ = ["FrenchCrossEncoder", "FrenchCrossEncoderReranker"]
