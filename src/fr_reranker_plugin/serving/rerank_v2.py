"""`POST /v2/rerank`: the shape of Cohere."""

from __future__ import annotations

from typing import Annotated, Final
from uuid import uuid4

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from fr_reranker_plugin.serving.bodies import DialectBody, described, read_as
from fr_reranker_plugin.serving.door import OpenCall
from fr_reranker_plugin.serving.fields import PASSAGES, QUESTION, Index, Query, Score, Texts, TopN, Whole
from fr_reranker_plugin.serving.problems import SCORING_CODES, responses

router = APIRouter(tags=["Cohere v2"])

_EXAMPLE: Final[JsonDict] = {"model": "embedded", "query": QUESTION, "documents": [*PASSAGES], "top_n": 1}


class V2Request(DialectBody):
    """A question and the documents to order."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    query: Query
    documents: Texts
    model: Annotated[str | None, Field(description="Not used: the model that was loaded answers.")] = None
    top_n: TopN = None
    max_tokens_per_doc: Annotated[
        Whole | None, Field(description="Not used: a text is cut at the length that the model reads.")
    ] = None


class CohereTokens(BaseModel):
    """Tokens that were read."""

    input_tokens: int


class CohereVersion(BaseModel):
    """Which version of Cohere's interface this is."""

    version: str


class CohereMeta(BaseModel):
    """What Cohere's clients look for beside the results."""

    api_version: CohereVersion
    tokens: CohereTokens


class V2Result(BaseModel):
    """One document with its score."""

    index: Index
    relevance_score: Score


class V2Response(BaseModel):
    """The documents, best first."""

    id: str
    results: list[V2Result]
    meta: CohereMeta


@router.post("/v2/rerank", responses=responses(*SCORING_CODES), openapi_extra=described(V2Request))
async def rerank_v2(call: OpenCall, body: Annotated[V2Request, Depends(read_as(V2Request))]) -> V2Response:
    """Order documents by their relevance to a question, best first, for clients of Cohere."""
    ranking = await call.rank(body.query, body.documents, top_k=body.top_n)
    return V2Response(
        id=str(uuid4()),
        results=[V2Result(index=one.index, relevance_score=one.score) for one in ranking.ranked],
        meta=cohere_meta("2", ranking.tokens),
    )


def cohere_meta(version: str, tokens: int) -> CohereMeta:
    """Give what stands beside the results."""
    return CohereMeta(api_version=CohereVersion(version=version), tokens=CohereTokens(input_tokens=tokens))
