"""`GET /index`: what `/retrieve` searches."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from fr_reranker_plugin.scoring.long_documents import LongDocuments
from fr_reranker_plugin.scoring.settings import chosen_first_stage_weight
from fr_reranker_plugin.serving.door import door_of
from fr_reranker_plugin.serving.problems import RefusedError, responses

router = APIRouter(tags=["retrieve"])


class IndexFacts(BaseModel):
    """What is searched, and what with."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "documents": 327,
                    "encoder": "embedded",
                    "model": "embedded",
                    "first_stage_weight": 0.5,
                    "long_documents": "truncate",
                    "questions": ["Peut-on se marier dans le village de ses parents ?"],
                }
            ]
        }
    )

    documents: int = Field(ge=0, description="How many documents there are.")
    encoder: str = Field(description="The bi-encoder of the first stage.")
    model: str = Field(description="The cross-encoder that reranks.")
    first_stage_weight: float = Field(description="How much the order of the first stage counts where nobody says.")
    long_documents: LongDocuments = Field(description="What becomes of documents longer than the model reads.")
    questions: list[str] = Field(description="Questions to try, where the sample collection is searched.")


@router.get("/index", responses=responses("unauthorized", "not_ready", "internal_error"))
async def index(request: Request) -> IndexFacts:
    """Say what `/retrieve` searches."""
    door = door_of(request)
    door.readiness.check()
    if door.first_stage is None:
        raise RefusedError("not_found", "this server has no index; start it with --index FOLDER or --sample")
    searched = await door.first_stage.searched()
    return IndexFacts(
        documents=searched.documents,
        encoder=searched.encoder,
        model=door.scorer.model.model,
        first_stage_weight=chosen_first_stage_weight(None, door.scorer.model.model),
        long_documents=door.settings.long_documents,
        questions=list(door.first_stage.questions),
    )
