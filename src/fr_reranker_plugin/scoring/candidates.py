"""The passages of one request as the pairs to score, and what was said of the pairs as what it says of the passages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from fr_reranker_plugin.errors import ScoringError
from fr_reranker_plugin.scoring.long_documents import WindowedLogits
from fr_reranker_plugin.scoring.ranking import (
    BLANK_LOGIT,
    NOTHING_READ,
    BestPassage,
    check_finite,
    make_pairs,
    part_of,
)
from fr_reranker_plugin.scoring.scorer import Pair
from fr_reranker_plugin.scoring.windows import BestWindow


class Scored(NamedTuple):
    """What the model said of one list of passages: a logit each, and the positions of those it read cut.

    `best` has the best part of each passage where long passages are read in windows, and is empty elsewhere.
    """

    logits: list[float]
    truncated: set[int]
    best: Sequence[BestPassage] = ()

    def found(self, index: int) -> dict[str, BestPassage]:
        """Give what a row of results tells of the best part of a passage."""
        return {"best_passage": self.best[index]} if self.best else {}


@dataclass(frozen=True, slots=True)
class Candidates:
    """The distinct pairs that a list of passages needs scored, and which passage each score belongs to.

    A passage that stands twice in the list is scored once; a blank one (`None`) not at all.
    """

    pairs: list[Pair]
    pair_of_passage: list[int | None]

    @classmethod
    def from_passages(cls, query: str, passages: Sequence[str | None]) -> Self:
        """Collect the distinct pairs of `query` with `passages`."""
        position: dict[str, int] = {}
        pair_of_passage = [None if text is None else position.setdefault(text, len(position)) for text in passages]
        return cls(make_pairs(query, position), pair_of_passage)

    def spread(self, logits: Sequence[float]) -> Scored:
        """Spread what a scorer said of `pairs` over the passages.

        :param logits: One for each of `pairs`; `Logits` tell which were cut, `WindowedLogits` the best windows too.
        :raises ScoringError: See `logits_of_passages`.
        """
        return Scored(
            self.logits_of_passages(logits),
            self.passages_of_pairs(getattr(logits, "truncated", ())),
            self._best_passages(logits.best) if isinstance(logits, WindowedLogits) else (),
        )

    def logits_of_passages(self, logits: Sequence[float]) -> list[float]:
        """Spread the logits of `pairs` over the passages; blank passages get `BLANK_LOGIT`.

        :raises ScoringError: If a scorer gave another number of logits than there are pairs, or one that is not finite.
        """
        if len(logits) != len(self.pairs):
            raise ScoringError(f"expected {len(self.pairs)} logits, one per pair, but the scorer gave {len(logits)}")
        for pair, logit in zip(self.pairs, logits, strict=True):
            check_finite(pair, logit)
        return [BLANK_LOGIT if pair is None else logits[pair] for pair in self.pair_of_passage]

    def passages_of_pairs(self, pairs: Iterable[int]) -> set[int]:
        """Name the passages that the given positions of `pairs` stand for."""
        wanted = set(pairs)
        return {index for index, pair in enumerate(self.pair_of_passage) if pair in wanted}

    def _best_passages(self, best: Sequence[BestWindow]) -> list[BestPassage]:
        parts = [part_of(text, one[:2], windows=one.windows) for (_, text), one in zip(self.pairs, best, strict=True)]
        return [NOTHING_READ.copy() if pair is None else parts[pair].copy() for pair in self.pair_of_passage]
