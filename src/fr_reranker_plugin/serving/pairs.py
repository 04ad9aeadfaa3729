"""`POST /score`: one score for each of any pairs."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, FailFast, Field
from pydantic.config import JsonDict

from fr_reranker_plugin.scoring.ranking import BLANK_LOGIT, sigmoid
from fr_reranker_plugin.serving.bodies import OwnBody, described, read_as
from fr_reranker_plugin.serving.door import OpenCall
from fr_reranker_plugin.serving.fields import PASSAGES, QUESTION, Query, RawScores
from fr_reranker_plugin.serving.problems import SCORING_CODES, responses
from fr_reranker_plugin.serving.settings import MOST_TEXTS

router = APIRouter(tags=["pairs"])

_EXAMPLE: Final[JsonDict] = {
    "pairs": [{"query": QUESTION, "passage": passage} for passage in PASSAGES],
    "raw_scores": True,
}


class PairBody(OwnBody):
    """A question and a passage."""

    query: Query
    passage: Annotated[str, Field(description="The passage; one without text gets the lowest score.")]


class ScoreRequest(OwnBody):
    """Pairs to score."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    pairs: Annotated[list[PairBody], FailFast(), Field(max_length=MOST_TEXTS)]
    raw_scores: RawScores = False


class ScoreResponse(BaseModel):
    """One score for each pair, in their order."""

    model: str
    scores: list[float] = Field(description="0 to 1, or logits where `raw_scores` was asked for.")
    truncated: list[int] = Field(description="Positions of the pairs of which something was not read.")
    tokens: int = Field(description="Tokens that were read.")


@router.post("/score", responses=responses(*SCORING_CODES), openapi_extra=described(ScoreRequest))
async def score(call: OpenCall, body: Annotated[ScoreRequest, Depends(read_as(ScoreRequest))]) -> ScoreResponse:
    """Score pairs, each on its own."""
    readable = [place for place, pair in enumerate(body.pairs) if pair.passage.strip()]
    found = await call.score([(body.pairs[place].query, body.pairs[place].passage) for place in readable])
    logits = [BLANK_LOGIT] * len(body.pairs)
    for place, logit in zip(readable, found, strict=True):
        logits[place] = logit
    return ScoreResponse(
        model=call.model,
        scores=logits if body.raw_scores else [sigmoid(logit) for logit in logits],
        truncated=[readable[place] for place in found.truncated],
        tokens=found.tokens,
    )
