"""One call of a reranker, whichever door it came through: what is to be scored, and what becomes of the logits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.calibration import Calibration
from fr_reranker_plugin.scoring.candidates import Candidates
from fr_reranker_plugin.scoring.ranking import (
    NOTHING_READ,
    BestPassage,
    Ranked,
    TextForm,
    part_of,
    rank_by_score,
)
from fr_reranker_plugin.scoring.scorer import Pair
from fr_reranker_plugin.scoring.settings import check_calibrated_scale, check_first_stage_weight
from fr_reranker_plugin.scoring.windows import BestWindow


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingRules:
    """How documents become texts, and how logits become a ranking.

    :param fields: Names of the metadata that is read before the content, in this order.
    :param deduplicate: Rank one of the documents that are the same to the door in question.
    :param top_k: How many to keep at most; `None` keeps all.
    :param score_threshold: Keep only scores of at least this much, on the reported scale; applied before `top_k`.
    :param scale_score: Report `sigmoid(logit)` rather than the logit.
    :param calibration: Report its probability rather than `sigmoid(logit)`.
    :param first_stage_weight: How much the order counts in which the documents came; see `blended`.
    :raises SettingsError: If there is a calibration for raw logits, or the weight is not in 0..1.
    """

    form: TextForm
    fields: Sequence[str]
    deduplicate: bool
    top_k: int | None
    score_threshold: float | None
    scale_score: bool
    calibration: Calibration | None = None
    first_stage_weight: float = 0.0

    def __post_init__(self) -> None:
        check_calibrated_scale(self.calibration, scale_score=self.scale_score)
        check_first_stage_weight(self.first_stage_weight)


class RankingTask:
    """A query and the documents to rank by it, apart from the waiting: what is to be scored, and what becomes of it.

    :param query: The query.
    :param documents: Metadata and content of each document.
    :param rules: The rules of this call.
    :raises SettingsError: If the query is not a string.
    """

    def __init__(
        self, query: str, documents: Iterable[tuple[Mapping[Any, Any], str | None]], rules: RankingRules
    ) -> None:
        if not isinstance(query, str):
            raise SettingsError(f"query must be a string, got {type(query).__name__}")
        self._rules = rules
        self._contents: list[str] = []
        self._passages: list[str | None] = []
        for metadata, content in documents:
            self._contents.append(content or "")
            self._passages.append(rules.form.passage([metadata.get(name) for name in rules.fields], content))
        self._candidates = Candidates.from_passages(rules.form.query(query), self._passages)

    @property
    def pairs(self) -> list[Pair]:
        """The distinct pairs to score; a document without text needs none."""
        return self._candidates.pairs

    def ranked(self, logits: Sequence[float]) -> list[Ranked]:
        """Order the documents, best first, with their best passages if the scorer tells them.

        :param logits: One logit for each of `pairs`.
        :raises ScoringError: If their number is another, or one is not finite.
        """
        ranking = rank_by_score(
            self._candidates.logits_of_passages(logits),
            top_k=self._rules.top_k,
            score_threshold=self._rules.score_threshold,
            scale_score=self._rules.scale_score,
            calibration=self._rules.calibration,
            first_stage_weight=self._rules.first_stage_weight,
        )
        best: Sequence[BestWindow] | None = getattr(logits, "best", None)
        if best is None:
            return ranking
        return [replace(ranked, best_passage=self._best_passage(ranked.index, best)) for ranked in ranking]

    def truncated(self, logits: Sequence[float]) -> int:
        """Count the documents of which something was not read, as far as the scorer tells."""
        return len(self._candidates.passages_of_pairs(getattr(logits, "truncated", ())))

    def windows(self, logits: Sequence[float]) -> int | None:
        """Count the windows that were scored; `None` where long documents are not read in windows."""
        best: Sequence[BestWindow] | None = getattr(logits, "best", None)
        return None if best is None else sum(window.windows for window in best)

    def _best_passage(self, index: int, best: Sequence[BestWindow]) -> BestPassage:
        passage, content, pair = self._passages[index], self._contents[index], self._candidates.pair_of_passage[index]
        if passage is None or pair is None:
            return NOTHING_READ.copy()
        span = self._rules.form.part_of_content(best[pair][:2], passage, content)
        return part_of(content, span, windows=best[pair].windows)
