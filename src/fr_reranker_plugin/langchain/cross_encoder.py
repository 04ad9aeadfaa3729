"""The shared scorer as LangChain's cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.cross_encoders import BaseCrossEncoder

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.langchain.scoring_fields import ScoringFields
from fr_reranker_plugin.scoring.calibration import Calibration
from fr_reranker_plugin.scoring.candidates import Candidates
from fr_reranker_plugin.scoring.ranking import reported_score
from fr_reranker_plugin.scoring.scorer import Pair


class FrenchCrossEncoder(ScoringFields, BaseCrossEncoder):
    """A cross-encoder for `CrossEncoderReranker` of langchain-classic, and for whatever takes a `BaseCrossEncoder`.

    The fields that choose the model are those of `ModelFields`, those that concern a call those of `ScoringFields`.
    """

    def score(self, text_pairs: list[Pair]) -> list[float]:
        """Give one score per (query, passage) pair, in order; no pairs load nothing.

        A passage without text scores 0.0, or the lowest float32 where raw scores are asked for.

        :raises SettingsError: If something is not a pair of strings, or the calibration cannot be used.
        :raises RerankerError: If the model cannot be loaded, fails, or is too late.
        """
        calibration, candidates = self._calibration(), _distinct(text_pairs)
        return self._scores(candidates, self._score(candidates.pairs), calibration)

    async def ascore(self, text_pairs: list[Pair]) -> list[float]:
        """Give one score per (query, passage) pair without blocking the event loop; see `score`."""
        calibration, candidates = await self._acalibration(), _distinct(text_pairs)
        return self._scores(candidates, await self._ascore(candidates.pairs), calibration)

    def _scores(self, candidates: Candidates, logits: Sequence[float], calibration: Calibration | None) -> list[float]:
        spread = candidates.logits_of_passages(logits)
        return [reported_score(logit, scale_score=self.scale_score, calibration=calibration) for logit in spread]


def _distinct(text_pairs: Sequence[Pair]) -> Candidates:
    """Collect the distinct pairs whose passage has text."""
    place: dict[Pair, int] = {}
    pair_of_passage: list[int | None] = []
    for position, text_pair in enumerate(text_pairs):
        pair = _checked(text_pair, position)
        pair_of_passage.append(place.setdefault(pair, len(place)) if pair[1].strip() else None)
    return Candidates(list(place), pair_of_passage)


def _checked(pair: object, position: int) -> Pair:
    match pair:
        case (str() as query, str() as passage):
            return query, passage
    raise SettingsError(f"pair {position} must be a query and a passage, both strings, got {repr(pair)[:80]}")
