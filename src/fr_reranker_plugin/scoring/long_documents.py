"""Read passages that are longer than the model reads: in windows, of which the best one counts, or the best few."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from time import monotonic
from typing import Literal, Protocol, Self, get_args, runtime_checkable

from fr_reranker_plugin.errors import DeadlineExceededError, ScoringError, SettingsError
from fr_reranker_plugin.scoring.calls import TOKENISED_AT_A_TIME, slices
from fr_reranker_plugin.scoring.ranking import check_finite
from fr_reranker_plugin.scoring.scorer import Answers, Logits, Pair, Scorer
from fr_reranker_plugin.scoring.settings import Priority, check_whole_number
from fr_reranker_plugin.scoring.texts import check_pairs
from fr_reranker_plugin.scoring.windows import BestWindow, Span

Aggregate = Literal["max", "mean"]
LongDocuments = Literal["truncate", "max", "mean"]
"""What becomes of a passage that is too long: its end is not read, or it is read in windows and these aggregated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSettings:
    """How a long passage is cut, and how the logits of its windows become one.

    `"max"` is MaxP (Dai and Callan 2019, "Deeper Text Understanding for IR with Contextual Neural Language Modeling").

    :param aggregate: `"max"`: the logit of the best window; `"mean"`: the mean of the best few.
    :param overlap: Tokens that neighbouring windows share at least; half a window at most, whatever is asked for.
    :param averaged: How many of the best windows `"mean"` averages at most.
    :param max_windows: Most windows of one passage, from its beginning; what is behind them is not read. `None`: all.
    :raises SettingsError: If a value is not allowed.
    """

    aggregate: Aggregate = "max"
    overlap: int = 64
    averaged: int = 3
    max_windows: int | None = None

    def __post_init__(self) -> None:
        if self.aggregate not in get_args(Aggregate):
            raise SettingsError(f"aggregate must be 'max' or 'mean', got {self.aggregate!r}")
        check_whole_number("window_overlap", self.overlap, at_least=0)
        check_whole_number("averaged", self.averaged)
        if self.max_windows is not None:
            check_whole_number("max_windows", self.max_windows)


def window_settings(
    long_documents: LongDocuments, *, overlap: int = 64, max_windows: int | None = None
) -> WindowSettings | None:
    """Give the settings behind the parameters of a door; `None` for `"truncate"`.

    :raises SettingsError: If a value is not allowed, whether or not it would be used.
    """
    if long_documents not in get_args(LongDocuments):
        raise SettingsError(f"long_documents must be 'truncate', 'max' or 'mean', got {long_documents!r}")
    if long_documents == "truncate":
        WindowSettings(overlap=overlap, max_windows=max_windows)
        return None
    return WindowSettings(aggregate=long_documents, overlap=overlap, max_windows=max_windows)


class WindowedLogits(Logits):
    """One logit per pair, made of those of its windows.

    :param logits: The logits.
    :param truncated: Positions of the pairs of which something was not read: windows beyond `max_windows`, or the end
        of a query that is longer than half of what the model reads.
    :param best: The best window of each pair.
    :param tokens: How many tokens all windows have together, with the query in each.
    """

    def __init__(
        self,
        logits: Iterable[float] = (),
        *,
        truncated: Sequence[int] = (),
        best: Sequence[BestWindow] = (),
        tokens: int = 0,
    ) -> None:
        super().__init__(logits, truncated=truncated, tokens=tokens)
        self.best = tuple(best)

    @classmethod
    def joined(cls, parts: Sequence[Answers[float]]) -> Self:
        """Put the logits of consecutive parts of one request together again, with their best windows."""
        logits = super().joined(parts)
        logits.best = tuple(window for part in parts if isinstance(part, WindowedLogits) for window in part.best)
        return logits

    def _slice(self, start: int, end: int) -> Self:
        logits = super()._slice(start, end)
        logits.best = self.best[start:end]
        return logits


class WindowPlan:
    """The windows of the passages of one request, as pairs to score.

    :param pairs: The queries and whole passages.
    :param spans: For each pair the windows of its passage, at least one, as `cut_passages` gives them.
    :param settings: Which of them are read, and how their logits become one.
    """

    def __init__(self, pairs: Sequence[Pair], spans: Sequence[Sequence[Span]], settings: WindowSettings) -> None:
        self._settings = settings
        self._read = [windows[: settings.max_windows] for windows in spans]
        self._unread = {i for i, windows in enumerate(spans) if len(windows) > len(self._read[i])}
        self.pairs: list[Pair] = [
            (query, passage[start:end])
            for (query, passage), windows in zip(pairs, self._read, strict=True)
            for start, end in windows
        ]

    def gathered(self, logits: Sequence[float]) -> WindowedLogits:
        """Make one logit per passage of those of the windows.

        :param logits: One logit for each of `pairs`.
        :raises ScoringError: If their number is another, or one is not finite.
        """
        if len(logits) != len(self.pairs):
            raise ScoringError(f"expected {len(self.pairs)} logits, one per window, but the scorer gave {len(logits)}")
        for pair, logit in zip(self.pairs, logits, strict=True):
            check_finite(pair, logit)
        cut = set(getattr(logits, "truncated", ()))
        aggregated, truncated, best = [], [], []
        start = 0
        for position, windows in enumerate(self._read):
            places = range(start, start + len(windows))
            best_first = sorted(places, key=logits.__getitem__, reverse=True)
            aggregated.append(self._aggregate([logits[place] for place in best_first]))
            best.append(BestWindow(*windows[best_first[0] - start], len(windows)))
            if position in self._unread or not cut.isdisjoint(places):
                truncated.append(position)
            start = places.stop
        tokens = getattr(logits, "tokens", 0)
        return WindowedLogits(aggregated, truncated=truncated, best=best, tokens=tokens)

    def _aggregate(self, best_first: Sequence[float]) -> float:
        return best_first[0] if self._settings.aggregate == "max" else fmean(best_first[: self._settings.averaged])


@runtime_checkable
class WindowingScorer(Scorer, Protocol):
    """A scorer that can say where a long passage has to be cut, such as `SharedScorer`; asked that, it is loaded."""

    def windows(self, pairs: Sequence[Pair], *, overlap: int) -> list[list[Span]]:
        """Give the windows of the passage of each pair, at least one, as `cut_passages` does."""

    async def awindows(self, pairs: Sequence[Pair], *, overlap: int) -> list[list[Span]]:
        """Give the windows of each passage without blocking the event loop."""


class LongDocumentScorer:
    """Scores as the scorer within does, but reads long passages to their end.

    A passage that fits keeps its logit. The windows of all passages go to the scorer as one request and are ordinary
    pairs there: the logit of a window is that of its text on its own.

    :param scorer: Who scores the windows.
    :param settings: How passages are cut, and how the logits of their windows become one.
    :raises SettingsError: If `scorer` cannot cut passages.
    """

    def __init__(self, scorer: Scorer, settings: WindowSettings | None = None) -> None:
        if not isinstance(scorer, WindowingScorer):
            raise SettingsError(
                f"{type(scorer).__name__} cannot cut long documents into windows: it lacks windows() and awindows(); "
                "use long_documents='truncate'"
            )
        self._scorer = scorer
        self._settings = settings or WindowSettings()

    def score(
        self, pairs: Sequence[Pair], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> WindowedLogits:
        """Give one raw logit per pair; parameters and errors are those of the scorer within. No pairs load nothing."""
        if not pairs:
            return WindowedLogits()
        check_pairs(pairs)
        self._scorer.windows([], overlap=0)  # a cold model is loaded now: that time is not the caller's
        with _within(timeout, pairs):
            end = _end_of(timeout)
            spans: list[list[Span]] = []
            for part in slices(pairs, TOKENISED_AT_A_TIME):
                _time_left(end)
                spans += self._scorer.windows(part.items, overlap=self._settings.overlap)
            plan = WindowPlan(pairs, spans, self._settings)
            return plan.gathered(self._scorer.score(plan.pairs, timeout=_time_left(end), priority=priority))

    async def ascore(
        self, pairs: Sequence[Pair], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> WindowedLogits:
        """Give one raw logit per pair without blocking the event loop; see `score`."""
        if not pairs:
            return WindowedLogits()
        check_pairs(pairs)
        await self._scorer.awindows([], overlap=0)
        with _within(timeout, pairs):
            end = _end_of(timeout)
            spans: list[list[Span]] = []
            async with asyncio.timeout(timeout):
                for part in slices(pairs, TOKENISED_AT_A_TIME):
                    spans += await self._scorer.awindows(part.items, overlap=self._settings.overlap)
            plan = WindowPlan(pairs, spans, self._settings)
            logits = await self._scorer.ascore(plan.pairs, timeout=_time_left(end), priority=priority)
            return plan.gathered(logits)


def reading(scorer: Scorer, windows: WindowSettings | None) -> Scorer:
    """Give the scorer, reading long passages in windows where there are settings for them."""
    return scorer if windows is None else LongDocumentScorer(scorer, windows)


def _end_of(timeout: float | None) -> float | None:
    return None if timeout is None else monotonic() + timeout


def _time_left(end: float | None) -> float | None:
    """Give the seconds until `end`.

    :raises TimeoutError: If there are none.
    """
    left = None if end is None else end - monotonic()
    if left is not None and left <= 0:
        raise TimeoutError
    return left


@contextmanager
def _within(timeout: float | None, pairs: Sequence[Pair]) -> Iterator[None]:
    """Name the time that the caller gave, rather than what was left of it, if it was too short."""
    try:
        yield
    except TimeoutError:
        raise DeadlineExceededError(f"no answer within {timeout} s for {len(pairs)} passages") from None
