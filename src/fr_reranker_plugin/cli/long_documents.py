"""The options that say what becomes of passages that are longer than the model reads."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from fr_reranker_plugin.scoring.scorer import Scorer


class LongPassages(StrEnum):
    """What becomes of a passage that is too long."""

    TRUNCATE = "truncate"
    MAX = "max"
    MEAN = "mean"


LongDocumentsOption = Annotated[
    LongPassages,
    typer.Option(
        "--long-documents", help="Leave their ends out, or read them in windows: best one, or mean of the best 3."
    ),
]
WindowOverlapOption = Annotated[
    int, typer.Option("--window-overlap", min=0, help="Tokens that neighbouring windows share.")
]


def reading(scorer: Scorer, rule: LongPassages, *, overlap: int) -> Scorer:
    """Give the scorer, reading long passages by the rule that was chosen."""
    from fr_reranker_plugin.scoring.long_documents import LongDocumentScorer, window_settings

    windows = window_settings(rule.value, overlap=overlap)
    return scorer if windows is None else LongDocumentScorer(scorer, windows)
