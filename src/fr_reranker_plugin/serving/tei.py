"""The shape of text-embeddings-inference: `POST /rerank` and `GET /info`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from fr_reranker_plugin.scoring.loading import resolve_settings
from fr_reranker_plugin.serving.bodies import DialectBody, described, read_as
from fr_reranker_plugin.serving.door import OpenCall, Ranking, door_of
from fr_reranker_plugin.serving.fields import PASSAGES, QUESTION, Index, Query, RawOrScore, RawScores, Texts
from fr_reranker_plugin.serving.problems import SCORING_CODES, RefusedError, TeiProblem, responses

router = APIRouter(tags=["text-embeddings-inference"])

_EXAMPLE: Final[JsonDict] = {"query": QUESTION, "texts": [*PASSAGES], "raw_scores": False}


class TeiRequest(DialectBody):
    """A question and the texts to order."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    query: Query
    texts: Texts
    raw_scores: RawScores = False
    return_text: Annotated[bool, Field(description="Repeat each text beside its score.")] = False
    truncate: Annotated[
        bool | None, Field(description="False: a text that is longer than the model reads is an error (422).")
    ] = None
    truncation_direction: Annotated[
        Literal["Left", "Right", "left", "right"] | None,
        Field(description="We cut at the end only: with `Left`, a text that would be cut is an error (422)."),
    ] = None


class TeiRank(BaseModel):
    """One text with its score."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"index": 1, "score": 0.93}]})

    index: Index
    score: RawOrScore
    text: str | None = None


class TeiInfo(BaseModel):
    """Which model answers, and within which limits; `served_by` tells this server from others of the same shape."""

    model_id: str
    model_sha: str | None
    model_dtype: str
    model_type: dict[str, Any]
    max_input_length: int = Field(description="Longest pair in tokens; longer ones are cut.")
    max_batch_tokens: int | None
    max_client_batch_size: int = Field(description="Most texts of one request.")
    auto_truncate: bool
    version: str
    served_by: Literal["fr-reranker"] = "fr-reranker"


@router.post(
    "/rerank",
    response_model_exclude_none=True,
    responses=responses(*SCORING_CODES, shape=TeiProblem),
    openapi_extra=described(TeiRequest),
)
async def rerank(call: OpenCall, body: Annotated[TeiRequest, Depends(read_as(TeiRequest))]) -> list[TeiRank]:
    """Order texts by their relevance to a question, best first."""
    ranking = await call.rank(body.query, body.texts, raw_scores=body.raw_scores)
    _check_cut(body, ranking)
    return [
        TeiRank(index=one.index, score=one.score, text=body.texts[one.index] if body.return_text else None)
        for one in ranking.ranked
    ]


@router.get("/info", responses=responses("unauthorized", "not_ready", "internal_error", shape=TeiProblem))
async def info(request: Request) -> TeiInfo:
    """Say which model answers, and within which limits."""
    door = door_of(request)
    door.readiness.check()
    model = resolve_settings(door.scorer.model)
    return TeiInfo(
        model_id=door.scorer.model.model,
        model_sha=model.revision,
        model_dtype=model.dtype,
        model_type={"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
        max_input_length=door.scorer.max_length,
        max_batch_tokens=door.scorer.batch.for_device(model.device).max_batch_tokens,
        max_client_batch_size=door.settings.max_texts,
        auto_truncate=True,
        version=version("fr-reranker-plugin"),
    )


def _check_cut(body: TeiRequest, ranking: Ranking) -> None:
    """Refuse an answer that rests on texts cut in a way the client did not want."""
    if ranking.truncated and body.truncate is False:
        raise RefusedError(
            "text_too_long",
            f"{ranking.truncated} texts are longer than the model reads; shorten them, or leave `truncate` out",
        )
    if ranking.truncated and body.truncation_direction in ("Left", "left"):
        raise RefusedError(
            "text_too_long",
            f"{ranking.truncated} texts are longer than the model reads, and we cut at the end only; shorten them",
        )
