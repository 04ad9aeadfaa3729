"""The options that say what becomes of passages that are longer than the model reads."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fr_reranker_plugin.scoring.long_documents import WindowSettings
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


def window_settings(rule: LongPassages, *, overlap: int) -> WindowSettings | None:
    """Give the settings behind the options; `None` where ends are left out."""
    from fr_reranker_plugin.scoring import long_documents

    return long_documents.window_settings(rule.value, overlap=overlap)


def reading(scorer: Scorer, rule: LongPassages, *, overlap: int) -> Scorer:
    """Give the scorer, reading long passages by the rule that was chosen."""
    from fr_reranker_plugin.scoring import long_documents

    return long_documents.reading(scorer, window_settings(rule, overlap=overlap))
