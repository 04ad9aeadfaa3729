"""`POST /retrieve`: find candidates in an index, and put the most relevant first."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.config import JsonDict

from fr_reranker_plugin.retrieval.document_index import SearchMethod
from fr_reranker_plugin.retrieval.documents import Hit
from fr_reranker_plugin.scoring.ranking import BestPassage, Ranked
from fr_reranker_plugin.scoring.settings import chosen_first_stage_weight
from fr_reranker_plugin.serving.bodies import OwnBody, described, read_as
from fr_reranker_plugin.serving.door import Call, OpenCall
from fr_reranker_plugin.serving.fields import QUESTION, WHOLE, FirstStageWeight, Query, RawScores
from fr_reranker_plugin.serving.problems import SCORING_CODES, RefusedError, responses

router = APIRouter(tags=["retrieve"])

_EXAMPLE: Final[JsonDict] = {"query": QUESTION, "top_k": 3, "candidates": 20, "method": "hybrid"}
_FILTER_EXAMPLE: Final[JsonDict] = {"field": "meta.year", "operator": ">=", "value": 2020}


class RetrieveRequest(OwnBody):
    """A question, and how answers to it are looked for."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    query: Query
    top_k: Annotated[int, Field(ge=1, le=1000, description="How many documents to give at most."), WHOLE] = 10
    candidates: Annotated[
        int, Field(ge=1, le=1000, description="How many the first stage finds for reranking, `top_k` at least."), WHOLE
    ] = 50
    method: Annotated[SearchMethod, Field(description="By meaning, by words, or by both.")] = "hybrid"
    filters: Annotated[
        dict[str, JsonValue] | None,
        Field(description="Which documents may be found, in Haystack's form.", examples=[_FILTER_EXAMPLE]),
    ] = None
    first_stage_weight: FirstStageWeight = None
    rerank: Annotated[bool, Field(description="False: the order of the first stage.")] = True
    raw_scores: RawScores = False


class Passage(BaseModel):
    """The part of a document that answers best: `text` is the document's from `start` to `end`, in characters."""

    text: str
    start: int
    end: int
    windows: int = Field(description="How many windows of the document were read.")


class Found(BaseModel):
    """A document with its places and scores."""

    rank: int = Field(description="1 is the most relevant.")
    found_at: int = Field(description="Its rank in the first stage, from 1.")
    id: str
    score: float = Field(description="Of the reranker; without reranking, of the first stage.")
    found_with: float = Field(description="Its score in the first stage.")
    text: str
    metadata: dict[str, Any]
    best_passage: Passage | None = Field(default=None, description="Where long documents are read in windows.")


class Seconds(BaseModel):
    """How long each stage took, waiting for its turn included."""

    first_stage: float = Field(ge=0)
    reranking: float | None = Field(default=None, ge=0, description="Where there was reranking.")


class RetrieveResponse(BaseModel):
    """Documents, best first."""

    model: str
    results: list[Found]
    seconds: Seconds


@router.post(
    "/retrieve",
    response_model_exclude_none=True,
    responses=responses(*SCORING_CODES),
    openapi_extra=described(RetrieveRequest),
)
async def retrieve(
    call: OpenCall, body: Annotated[RetrieveRequest, Depends(read_as(RetrieveRequest))]
) -> RetrieveResponse:
    """Find documents by meaning, by words or by both, and put the most relevant first."""
    count = max(_candidates(call, body), body.top_k) if body.rerank else body.top_k
    started = perf_counter()
    hits = await _find(call, body, count)
    hits_at = perf_counter()
    if not body.rerank:
        found = [_found(rank, rank, hit, hit.score) for rank, hit in enumerate(hits, start=1)]
        return RetrieveResponse(model=call.model, results=found, seconds=Seconds(first_stage=hits_at - started))
    ranking = await call.rank(
        body.query,
        [hit.document.text for hit in hits],
        top_k=body.top_k,
        raw_scores=body.raw_scores,
        first_stage_weight=chosen_first_stage_weight(body.first_stage_weight, call.model),
    )
    found = [_reranked(rank, one, hits[one.index]) for rank, one in enumerate(ranking.ranked, start=1)]
    seconds = Seconds(first_stage=hits_at - started, reranking=perf_counter() - hits_at)
    return RetrieveResponse(model=call.model, results=found, seconds=seconds)


def _candidates(call: Call, body: RetrieveRequest) -> int:
    """Give how many the first stage finds: what was asked for, or the usual number if a request may have so many."""
    asked = "candidates" in body.model_fields_set
    return body.candidates if asked else min(body.candidates, call.door.settings.max_texts)


async def _find(call: Call, body: RetrieveRequest, count: int) -> list[Hit]:
    first_stage = call.door.first_stage
    if first_stage is None:
        raise RefusedError("not_found", "this server has no index; start it with --index FOLDER or --sample")
    if body.rerank:
        call.check_count(count, "ask for fewer candidates")
    try:
        async with asyncio.timeout(call.seconds_left()):
            return await first_stage.search(body.query, count, method=body.method, filters=body.filters)
    except TimeoutError:
        raise call.too_late() from None


def _reranked(rank: int, ranked: Ranked, hit: Hit) -> Found:
    return _found(rank, ranked.index + 1, hit, ranked.score, best=ranked.best_passage)


def _found(rank: int, found_at: int, hit: Hit, score: float, *, best: BestPassage | None = None) -> Found:
    return Found(
        rank=rank,
        found_at=found_at,
        id=hit.document.id,
        score=score,
        found_with=hit.score,
        text=hit.document.text,
        metadata=dict(hit.document.metadata),
        best_passage=None if best is None else Passage(**best),
    )
