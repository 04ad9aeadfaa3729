"""From texts to pairs, and from logits to a ranking: pure functions, shared by every door."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Final, TypedDict

from fr_reranker_plugin.errors import ScoringError
from fr_reranker_plugin.scoring.scorer import Pair
from fr_reranker_plugin.scoring.settings import (
    check_calibrated_scale,
    check_first_stage_weight,
    check_threshold,
    check_whole_number,
)
from fr_reranker_plugin.scoring.windows import Span

if TYPE_CHECKING:
    from fr_reranker_plugin.scoring.calibration import Calibration

BLANK_LOGIT: Final = -3.4028234663852886e38
"""The logit of a passage without text: the lowest finite float32, so that it sorts last and survives JSON."""


class BestPassage(TypedDict):
    """The part of a document that answers best: plain values, for its metadata.

    `text` is the document's `content[start:end]`, with `start` and `end` in characters. It is the whole content where
    that was read at once, and empty where the best part is metadata read before the content. `windows` is how many
    windows were read: 1 for a document that fits, 0 for one without text.
    """

    text: str
    start: int
    end: int
    windows: int


def part_of(text: str, span: Span, *, windows: int) -> BestPassage:
    """Give a part of a text, with where it stands."""
    start, end = span
    return BestPassage(text=text[start:end], start=start, end=end, windows=windows)


NOTHING_READ: Final = part_of("", (0, 0), windows=0)
"""The best passage of a document without text."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """The position of a passage in the list that was given, with what the model said of it.

    `score` is `sigmoid(logit)` in 0..1, or the calibrated probability where there is a calibration, or the logit itself
    where raw scores were asked for; with a first-stage weight, the same of what `blended` gives. `best_passage` is
    known where long documents were read in windows.
    """

    index: int
    score: float
    logit: float
    best_passage: BestPassage | None = field(default=None, hash=False)

    @property
    def metadata(self) -> dict[str, BestPassage]:
        """What a document's metadata is told beside the score: `best_passage`, if it is known."""
        return {} if self.best_passage is None else {"best_passage": self.best_passage}


def make_pairs(query: str, passages: Iterable[str]) -> list[Pair]:
    """Pair the query with each passage, in order."""
    return [(query, passage) for passage in passages]


def sigmoid(logit: float) -> float:
    """Map a logit to 0..1, in float64 and without overflow."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    odds = math.exp(logit)
    return odds / (1.0 + odds)


def reported_score(logit: float, *, scale_score: bool = True, calibration: Calibration | None = None) -> float:
    """Give what a caller is told of a logit: its sigmoid, its calibrated probability, or the logit itself.

    :param scale_score: `False`: the logit; `calibration` must be `None` then.
    :param calibration: Gives the probability in place of the sigmoid.
    """
    if not scale_score:
        return float(logit)
    return sigmoid(logit) if calibration is None else calibration.probability(logit)


def check_finite(pair: Pair, logit: float) -> None:
    """Refuse a logit that cannot be sorted.

    :raises ScoringError: If `logit` is infinite or not a number; the message shows the start of the pair.
    """
    if not math.isfinite(logit):
        raise not_finite(pair, logit)


def not_finite(pair: Pair, logit: float) -> ScoringError:
    """Give the error for a logit that is infinite or not a number."""
    query, passage = pair
    return ScoringError(f"the model gave the logit {logit} for the pair ({query[:60]!r}, {passage[:60]!r})")


def rank_by_score(
    logits: Sequence[float],
    *,
    top_k: int | None = None,
    score_threshold: float | None = None,
    scale_score: bool = True,
    calibration: Calibration | None = None,
    first_stage_weight: float = 0.0,
) -> list[Ranked]:
    """Order the positions of `logits`, best first; equal logits keep their order.

    The order is by logit: a sigmoid rounds large logits to the same score, and would make ties of them.

    :param logits: One finite logit per passage.
    :param top_k: How many to keep at most; `None` keeps all.
    :param score_threshold: Keep only scores of at least this much, on the reported scale; applied before `top_k`.
    :param scale_score: Report `sigmoid(logit)` rather than the logit.
    :param calibration: Report its probability rather than `sigmoid(logit)`. The order is the same.
    :param first_stage_weight: How much the order counts in which the passages came; see `blended`.
    :raises SettingsError: If `top_k` is below 1, `score_threshold` is not a number, the weight is not in 0..1, or there
        is a calibration for raw logits.
    """
    if top_k is not None:
        check_whole_number("top_k", top_k)
    check_threshold(score_threshold)
    check_calibrated_scale(calibration, scale_score=scale_score)
    decisive = blended(logits, check_first_stage_weight(first_stage_weight))
    best_first = sorted(range(len(logits)), key=decisive.__getitem__, reverse=True)
    scores = (reported_score(decisive[i], scale_score=scale_score, calibration=calibration) for i in best_first)
    ranked = (Ranked(i, score, float(logits[i])) for i, score in zip(best_first, scores, strict=True))
    kept = [r for r in ranked if score_threshold is None or r.score >= score_threshold]
    return kept[:top_k]


def blended(logits: Sequence[float], weight: float) -> Sequence[float]:
    """Average the logits of a list of passages with the order in which they came, the first stage's.

    A first stage and a cross-encoder go wrong on different questions. Scores of first stages are on all kinds of
    scales, so only the order counts: each place is given minus the logarithm of its rank, brought to the mean and the
    standard deviation of the logits (a standard-score fusion), so that the result is on the scale of the logits. What a
    passage gets depends on the others, then.

    :param logits: One per passage, in the order of the first stage; those without text stay at `BLANK_LOGIT`.
    :param weight: Of the order, in 0..1; 0 gives the logits.
    """
    read = [place for place, logit in enumerate(logits) if logit > BLANK_LOGIT]
    if weight == 0 or len(read) <= 1:
        return logits
    orders = [-math.log(rank) for rank in range(1, len(read) + 1)]
    known = [logits[place] for place in read]
    mean, middle, stretch = fmean(known), fmean(orders), pstdev(known) / pstdev(orders)
    mixed = list(logits)
    for place, order in zip(read, orders, strict=True):
        mixed[place] = (1 - weight) * logits[place] + weight * (mean + stretch * (order - middle))
    return mixed


@dataclass(frozen=True, slots=True, kw_only=True)
class TextForm:
    """How a question and a document become the two texts that the model reads.

    :param separator: Stands between the metadata fields and the content.
    """

    query_prefix: str = ""
    query_suffix: str = ""
    document_prefix: str = ""
    document_suffix: str = ""
    separator: str = "\n"

    def query(self, text: str) -> str:
        """Give the query as the model reads it."""
        return f"{self.query_prefix}{text}{self.query_suffix}"

    def passage(self, fields: Iterable[object], content: str | None) -> str | None:
        """Give a document as the model reads it, or `None` if neither fields nor content hold text.

        A field that is `None` is left out; `0`, `False` and `""` are values and stay. A missing content is empty.
        """
        text = self.separator.join([*(str(value) for value in fields if value is not None), content or ""])
        return f"{self.document_prefix}{text}{self.document_suffix}" if text.strip() else None

    def part_of_content(self, span: Span, passage: str, content: str) -> Span:
        """Give the part of `content` that a part of the passage made from it covers; empty if it covers none."""
        begin = len(passage) - len(self.document_suffix) - len(content)
        start, end = (min(max(place - begin, 0), len(content)) for place in span)
        return start, end
