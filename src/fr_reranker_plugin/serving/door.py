"""What all endpoints share: the scorer, its limits, and how one request is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Final, NamedTuple, cast

from fastapi import Depends, Header, Request
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from fr_reranker_plugin.errors import DeadlineExceededError
from fr_reranker_plugin.scoring.long_documents import reading
from fr_reranker_plugin.scoring.ranking import Ranked, TextForm
from fr_reranker_plugin.scoring.ranking_task import RankingRules, RankingTask
from fr_reranker_plugin.scoring.scorer import Logits, Pair, Scorer
from fr_reranker_plugin.scoring.settings import Priority
from fr_reranker_plugin.scoring.shared import SharedScorer
from fr_reranker_plugin.serving.disconnect import while_connected
from fr_reranker_plugin.serving.first_stage import FirstStage
from fr_reranker_plugin.serving.metrics import ServerMetrics
from fr_reranker_plugin.serving.notes import RequestNotes, notes_of
from fr_reranker_plugin.serving.problems import RefusedError
from fr_reranker_plugin.serving.readiness import Readiness
from fr_reranker_plugin.serving.settings import ServerSettings

_SHORTEST_TIMEOUT: Final = 0.001


@dataclass(frozen=True, slots=True)
class Door:
    """One scorer behind HTTP.

    :param scorer: The shared scorer; loaded by `Readiness`.
    :param first_stage: An index to find candidates in, if there is one.
    """

    scorer: SharedScorer
    settings: ServerSettings
    first_stage: FirstStage | None
    metrics: ServerMetrics
    readiness: Readiness

    def reader(self) -> Scorer:
        """Give the scorer, reading long texts as the settings say."""
        return reading(self.scorer, self.settings.windows())


class Ranking(NamedTuple):
    """What became of the texts of one request.

    `ranked` is best first; `truncated` counts the texts of which something was not read; `tokens` is what was read.
    """

    ranked: list[Ranked]
    truncated: int
    tokens: int


class Call:
    """One request to score something.

    :param priority: Whether someone waits for it.
    :param timeout: Seconds from now until its answer is of no use.
    """

    def __init__(self, request: Request, door: Door, *, priority: Priority, timeout: float) -> None:
        self.door: Final = door
        self.priority: Priority = priority
        self._request = request
        self._timeout = timeout
        self._ends_at = monotonic() + timeout
        self._notes: RequestNotes = notes_of(request.scope)

    @property
    def model(self) -> str:
        """The name of the model that answers, whichever was asked for."""
        return self.door.scorer.model.model

    def seconds_left(self) -> float:
        """Seconds until the answer is of no use; 0 if it is of none already."""
        return max(0.0, self._ends_at - monotonic())

    async def rank(
        self,
        query: str,
        texts: Sequence[str],
        *,
        top_k: int | None = None,
        raw_scores: bool = False,
        first_stage_weight: float = 0.0,
    ) -> Ranking:
        """Order texts by their relevance, as every other door of this package does."""
        self.check_count(len(texts))
        rules = RankingRules(
            form=TextForm(),
            fields=(),
            deduplicate=False,
            top_k=top_k,
            score_threshold=None,
            scale_score=not raw_scores,
            first_stage_weight=first_stage_weight,
        )
        task = RankingTask(query, (({}, text) for text in texts), rules)
        logits = await self._logits(task.pairs)
        truncated = task.truncated(logits)
        self._note(texts=len(texts), truncated=truncated, tokens=logits.tokens)
        return Ranking(task.ranked(logits), truncated, logits.tokens)

    async def score(self, pairs: Sequence[Pair]) -> Logits:
        """Give one logit per pair."""
        self.check_count(len(pairs))
        logits = await self._logits(pairs)
        self._note(texts=len(pairs), truncated=len(logits.truncated), tokens=logits.tokens)
        return logits

    async def _logits(self, pairs: Sequence[Pair]) -> Logits:
        scorer, left = self.door.reader(), self.seconds_left()
        try:
            work = scorer.ascore(pairs, timeout=left, priority=self.priority)
            return cast("Logits", await while_connected(self._request.receive, work))
        except DeadlineExceededError:
            raise self.too_late() from None

    def too_late(self) -> RefusedError:
        """Give the answer to a request whose time is over."""
        return RefusedError("deadline_exceeded", f"no answer within {self._timeout:g} s; what waited was dropped")

    def check_count(self, texts: int, advice: str = "send several") -> None:
        """Refuse more texts than one request may have.

        :param advice: What the client can do.
        :raises RefusedError: Then.
        """
        most = self.door.settings.max_texts
        if texts > most:
            raise RefusedError("too_many_texts", f"a request may have {most} texts, this one has {texts}; {advice}")

    def _note(self, *, texts: int, truncated: int, tokens: int) -> None:
        self._notes.texts, self._notes.truncated, self._notes.tokens = texts, truncated, tokens
        self._notes.priority = self.priority


def door_of(request: Request) -> Door:
    """Give the door that a request came to."""
    door: Door = request.app.state.door
    return door


PriorityHeader = Annotated[
    Priority,
    Header(alias="X-Priority", description="`bulk` lets the requests that someone waits for go first."),
]
TimeoutHeader = Annotated[
    Annotated[float, Field(ge=_SHORTEST_TIMEOUT, allow_inf_nan=False)]
    | SkipJsonSchema[None],  # a header cannot be null, only be left out
    Header(
        alias="X-Request-Timeout",
        description="Seconds until the answer is of no use: it is 504 then, and what still waits is dropped.",
    ),
]


async def open_call(request: Request, priority: PriorityHeader = "interactive", timeout: TimeoutHeader = None) -> Call:
    """Begin a request to score something.

    :raises RefusedError: While the model is being loaded.
    """
    door = door_of(request)
    door.readiness.check()
    most = door.settings.request_timeout
    return Call(request, door, priority=priority, timeout=most if timeout is None else min(timeout, most))


OpenCall = Annotated[Call, Depends(open_call)]
