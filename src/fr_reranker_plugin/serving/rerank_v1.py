"""`POST /v1/rerank`: the shape of Jina, and that of the first version of Cohere's API, which share a path.

Fields with one name mean the same in both, and the answer has the fields of both. The one thing in which they differ is
whether documents are repeated when nothing is said of it: Jina does, Cohere does not. A request that names
`max_chunks_per_doc` or `rank_fields`, which only Cohere has, is taken for Cohere's; any other for Jina's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final
from uuid import uuid4

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, FailFast, Field, JsonValue
from pydantic.config import JsonDict

from fr_reranker_plugin.serving.bodies import DialectBody, described, read_as
from fr_reranker_plugin.serving.door import OpenCall
from fr_reranker_plugin.serving.fields import PASSAGES, QUESTION, Index, Query, Score, TopN, Whole
from fr_reranker_plugin.serving.problems import SCORING_CODES, DetailedProblem, responses
from fr_reranker_plugin.serving.rerank_v2 import CohereMeta, cohere_meta
from fr_reranker_plugin.serving.settings import MOST_TEXTS

router = APIRouter(tags=["Jina and Cohere v1"])

_EXAMPLE: Final[JsonDict] = {
    "model": "embedded",
    "query": QUESTION,
    "documents": [*PASSAGES],
    "top_n": 1,
    "return_documents": True,
}


class V1Document(BaseModel):
    """A document with fields of which some may be read; see `rank_fields`."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    text: str


class V1Request(DialectBody):
    """A question and the documents to order."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    query: Query
    documents: Annotated[
        list[str | V1Document],
        FailFast(),
        Field(max_length=MOST_TEXTS, description="Strings, or objects with at least `text`."),
    ]
    model: Annotated[str | None, Field(description="Not used: the model that was loaded answers, and is named.")] = None
    top_n: TopN = None
    return_documents: Annotated[
        bool | None, Field(description="Repeat the documents; without it, as the dialect does (Jina: yes, Cohere: no).")
    ] = None
    rank_fields: Annotated[
        list[str] | None, Field(description="Which fields of a document object are read, in this order.")
    ] = None
    max_chunks_per_doc: Annotated[Whole | None, Field(description="Not used; it marks a request as Cohere's.")] = None

    def repeats_documents(self) -> bool:
        """Tell whether the answer has the documents."""
        if self.return_documents is not None:
            return self.return_documents
        return self.rank_fields is None and self.max_chunks_per_doc is None


class Usage(BaseModel):
    """What the request cost."""

    total_tokens: int


class V1Result(BaseModel):
    """One document with its score."""

    index: Index
    relevance_score: Score
    document: dict[str, JsonValue] | None = None


class V1Response(BaseModel):
    """The documents, best first."""

    id: str
    model: str
    usage: Usage
    meta: CohereMeta
    results: list[V1Result]


@router.post(
    "/v1/rerank",
    response_model_exclude_none=True,
    responses=responses(*SCORING_CODES, shape=DetailedProblem),
    openapi_extra=described(V1Request),
)
async def rerank_v1(call: OpenCall, body: Annotated[V1Request, Depends(read_as(V1Request))]) -> V1Response:
    """Order documents by their relevance to a question, best first, for clients of Jina and of Cohere v1."""
    texts = [_text_of(document, body.rank_fields) for document in body.documents]
    ranking = await call.rank(body.query, texts, top_k=body.top_n)
    repeated = body.repeats_documents()
    results = [
        V1Result(
            index=one.index,
            relevance_score=one.score,
            document=_as_object(body.documents[one.index]) if repeated else None,
        )
        for one in ranking.ranked
    ]
    return V1Response(
        id=str(uuid4()),
        model=call.model,
        usage=Usage(total_tokens=ranking.tokens),
        meta=cohere_meta("1", ranking.tokens),
        results=results,
    )


def _text_of(document: str | V1Document, fields: Sequence[str] | None) -> str:
    """Give what the model reads of a document: its text, or the fields that were chosen, one below the other."""
    if isinstance(document, str):
        return document
    if fields is None:
        return document.text
    values = document.model_dump()
    return "\n".join(str(values[name]) for name in fields if values.get(name) is not None)


def _as_object(document: str | V1Document) -> dict[str, JsonValue]:
    return {"text": document} if isinstance(document, str) else document.model_dump()
