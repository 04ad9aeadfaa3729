"""What whoever runs the server asks it: is it alive, is it ready, how busy is it."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from fr_reranker_plugin.scoring.metrics import Health
from fr_reranker_plugin.serving.door import door_of
from fr_reranker_plugin.serving.problems import RefusedError, responses

router = APIRouter(tags=["operations"])


class Alive(BaseModel):
    """The process answers; numbers of the model follow once it is loaded."""

    status: Literal["ok"] = "ok"
    engines: int | None = Field(default=None, description="Copies of the model.")
    engines_alive: int | None = Field(default=None, description="Those that can answer.")
    oldest_waiting_seconds: float | None = Field(default=None, description="Age of the oldest request that waits.")


class Ready(BaseModel):
    """Requests are answered."""

    status: Literal["ready"] = "ready"


@router.get(
    "/health",
    response_model_exclude_none=True,
    responses=responses("not_ready", "device_lost", "internal_error"),
    openapi_extra={"security": []},
)
async def health(request: Request) -> Alive:
    """Say whether the process is alive; 503 if it will never answer again and should be started anew."""
    readiness = door_of(request).readiness
    if readiness.state == "failed":
        readiness.check()
    found = _checked_health(request)
    if found is None:
        return Alive()
    return Alive(
        engines=found.engines,
        engines_alive=found.engines_alive,
        oldest_waiting_seconds=found.oldest_waiting_seconds,
    )


@router.get(
    "/ready",
    responses=responses("not_ready", "device_lost", "shutting_down", "internal_error"),
    openapi_extra={"security": []},
)
async def ready(request: Request) -> Ready:
    """Say whether requests should be sent here: the model is loaded, and the server was not told to stop."""
    readiness = door_of(request).readiness
    readiness.check()
    if readiness.state == "stopping":
        raise RefusedError("shutting_down", "the server was told to stop; send requests elsewhere")
    _checked_health(request)
    return Ready()


def _checked_health(request: Request) -> Health | None:
    """Give how the model is; `None` while it is being loaded.

    :raises RefusedError: If no copy of it can answer any more.
    """
    door = door_of(request)
    health = door.scorer.health()
    if health is not None and not health.is_ready and door.readiness.state == "ready":
        raise RefusedError("device_lost", "no copy of the model can answer any more; start a new process")
    return health


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses=responses("unauthorized", "internal_error"),
)
async def metrics(request: Request) -> PlainTextResponse:
    """Give counters and gauges in Prometheus' text format."""
    return PlainTextResponse(door_of(request).metrics.exposition(), media_type=CONTENT_TYPE_LATEST)
