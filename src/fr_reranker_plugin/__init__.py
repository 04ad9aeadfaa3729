"""French cross-encoder reranking behind one shared scorer.

Importing this package loads none of its heavy libraries: each public name is loaded when it is first used.
The adapters live in `fr_reranker_plugin.haystack` and `fr_reranker_plugin.langchain`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fr_reranker_plugin.errors import (
        CollectionError,
        DeadlineExceededError,
        DeviceLostError,
        DuplicateDocumentError,
        FilterError,
        GpuMemoryError,
        IndexClosedError,
        IndexFolderError,
        IndexLockedError,
        MissingDependencyError,
        ModelLoadError,
        OverloadedError,
        RemoteError,
        RerankerError,
        ScorerClosedError,
        ScoringError,
        SettingsError,
    )
    from fr_reranker_plugin.evaluation.calibration_fit import fit_calibration
    from fr_reranker_plugin.retrieval.bm25 import BM25Settings
    from fr_reranker_plugin.retrieval.corpus_encoding import encode_corpus
    from fr_reranker_plugin.retrieval.dense_index import DenseIndex
    from fr_reranker_plugin.retrieval.document_index import DocumentIndex
    from fr_reranker_plugin.retrieval.documents import Hit, StoredDocument
    from fr_reranker_plugin.retrieval.encoded_corpus import EncodedCorpus
    from fr_reranker_plugin.retrieval.encoder_identity import EncoderIdentity
    from fr_reranker_plugin.retrieval.encoding_stream import encode_stream
    from fr_reranker_plugin.retrieval.french_analysis import FrenchAnalyzer
    from fr_reranker_plugin.retrieval.fusion import reciprocal_rank_fusion
    from fr_reranker_plugin.retrieval.index_settings import IndexSettings
    from fr_reranker_plugin.retrieval.lexical_index import LexicalIndex
    from fr_reranker_plugin.retrieval.shared_encoder import SharedEncoder, live_encoders
    from fr_reranker_plugin.retrieval.text_encoder import TextEncoder
    from fr_reranker_plugin.scoring.batching import BatchingScorer
    from fr_reranker_plugin.scoring.calibration import Calibration, CalibrationReport
    from fr_reranker_plugin.scoring.cross_encoder import CrossEncoder
    from fr_reranker_plugin.scoring.long_documents import LongDocumentScorer, WindowSettings
    from fr_reranker_plugin.scoring.ranking import Ranked, make_pairs, rank_by_score
    from fr_reranker_plugin.scoring.remote.scorer import RemoteScorer
    from fr_reranker_plugin.scoring.remote.settings import RemoteSettings
    from fr_reranker_plugin.scoring.scorer import Engine, Logits, Pair, Scorer
    from fr_reranker_plugin.scoring.settings import BatchSettings, ModelSettings
    from fr_reranker_plugin.scoring.shared import SharedScorer, live_scorers, shared_scorer

_HOME = {
    "BM25Settings": "retrieval.bm25",
    "BatchSettings": "scoring.settings",
    "BatchingScorer": "scoring.batching",
    "Calibration": "scoring.calibration",
    "CalibrationReport": "scoring.calibration",
    "CollectionError": "errors",
    "CrossEncoder": "scoring.cross_encoder",
    "DeadlineExceededError": "errors",
    "DenseIndex": "retrieval.dense_index",
    "DeviceLostError": "errors",
    "DocumentIndex": "retrieval.document_index",
    "DuplicateDocumentError": "errors",
    "EncodedCorpus": "retrieval.encoded_corpus",
    "EncoderIdentity": "retrieval.encoder_identity",
    "Engine": "scoring.scorer",
    "FilterError": "errors",
    "FrenchAnalyzer": "retrieval.french_analysis",
    "Hit": "retrieval.documents",
    "GpuMemoryError": "errors",
    "IndexClosedError": "errors",
    "IndexFolderError": "errors",
    "IndexLockedError": "errors",
    "IndexSettings": "retrieval.index_settings",
    "LexicalIndex": "retrieval.lexical_index",
    "Logits": "scoring.scorer",
    "LongDocumentScorer": "scoring.long_documents",
    "MissingDependencyError": "errors",
    "ModelLoadError": "errors",
    "ModelSettings": "scoring.settings",
    "OverloadedError": "errors",
    "Pair": "scoring.scorer",
    "Ranked": "scoring.ranking",
    "RemoteError": "errors",
    "RemoteScorer": "scoring.remote.scorer",
    "RemoteSettings": "scoring.remote.settings",
    "RerankerError": "errors",
    "Scorer": "scoring.scorer",
    "ScorerClosedError": "errors",
    "ScoringError": "errors",
    "SettingsError": "errors",
    "SharedEncoder": "retrieval.shared_encoder",
    "SharedScorer": "scoring.shared",
    "StoredDocument": "retrieval.documents",
    "TextEncoder": "retrieval.text_encoder",
    "WindowSettings": "scoring.long_documents",
    "encode_corpus": "retrieval.corpus_encoding",
    "encode_stream": "retrieval.encoding_stream",
    "fit_calibration": "evaluation.calibration_fit",
    "live_encoders": "retrieval.shared_encoder",
    "live_scorers": "scoring.shared",
    "make_pairs": "scoring.ranking",
    "rank_by_score": "scoring.ranking",
    "reciprocal_rank_fusion": "retrieval.fusion",
    "shared_scorer": "scoring.shared",
}

__all__ = [
    "BM25Settings",
    "BatchSettings",
    "BatchingScorer",
    "Calibration",
    "CalibrationReport",
    "CollectionError",
    "CrossEncoder",
    "DeadlineExceededError",
    "DenseIndex",
    "DeviceLostError",
    "DocumentIndex",
    "DuplicateDocumentError",
    "EncodedCorpus",
    "EncoderIdentity",
    "Engine",
    "FilterError",
    "FrenchAnalyzer",
    "GpuMemoryError",
    "Hit",
    "IndexClosedError",
    "IndexFolderError",
    "IndexLockedError",
    "IndexSettings",
    "LexicalIndex",
    "Logits",
    "LongDocumentScorer",
    "MissingDependencyError",
    "ModelLoadError",
    "ModelSettings",
    "OverloadedError",
    "Pair",
    "Ranked",
    "RemoteError",
    "RemoteScorer",
    "RemoteSettings",
    "RerankerError",
    "Scorer",
    "ScorerClosedError",
    "ScoringError",
    "SettingsError",
    "SharedEncoder",
    "SharedScorer",
    "StoredDocument",
    "TextEncoder",
    "WindowSettings",
    "encode_corpus",
    "encode_stream",
    "fit_calibration",
    "live_encoders",
    "live_scorers",
    "make_pairs",
    "rank_by_score",
    "reciprocal_rank_fusion",
    "shared_scorer",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- the names are of many kinds; type checkers read the imports above
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
