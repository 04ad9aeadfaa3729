"""The application: endpoints, errors, and what happens between its start and its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from fr_reranker_plugin.errors import RerankerError, SettingsError
from fr_reranker_plugin.scoring.settings import ModelSettings
from fr_reranker_plugin.scoring.shared import SharedScorer
from fr_reranker_plugin.serving import front_page, operations, pairs, rerank_v1, rerank_v2, retrieve, searched, tei
from fr_reranker_plugin.serving.door import Door
from fr_reranker_plugin.serving.first_stage import FirstStage, SampleFirstStage
from fr_reranker_plugin.serving.gate import Gate
from fr_reranker_plugin.serving.logs import with_fields
from fr_reranker_plugin.serving.metrics import ServerMetrics
from fr_reranker_plugin.serving.notes import notes_of
from fr_reranker_plugin.serving.openapi import describe
from fr_reranker_plugin.serving.problems import RefusedError, refusal_of, response_of
from fr_reranker_plugin.serving.readiness import Readiness
from fr_reranker_plugin.serving.settings import ServerSettings

logger = logging.getLogger(__name__)

_ROUTERS: Final = (tei.router, rerank_v1.router, rerank_v2.router, pairs.router, operations.router)
_INDEX_ROUTERS: Final = (retrieve.router, searched.router, front_page.router)
_PROBE: Final = [("Où déclarer une naissance ?", "La déclaration se fait à la mairie, dans les cinq jours.")]


def create_app(
    scorer: SharedScorer,
    settings: ServerSettings | None = None,
    *,
    index: Path | str | None = None,
    sample: bool = False,
) -> FastAPI:
    """Make the application that answers for a scorer.

    The model is loaded when the application starts; until then `/ready` says 503 and `/health` answers. Mounted in
    another application, it starts when that one enters its `router.lifespan_context`.

    :param scorer: A handle of the application's own: it is closed when the application ends.
    :param index: The folder of an index for `/retrieve`, and for the page at `/`. `None`: there are none.
    :param sample: Search the sample collection instead.
    :raises SettingsError: If both are asked for.
    """
    first_stage = _first_stage(index, scorer.model, sample=sample)
    door = Door(
        scorer=scorer,
        settings=settings or ServerSettings(),
        first_stage=first_stage,
        metrics=ServerMetrics(scorer),
        readiness=Readiness(),
    )
    app = FastAPI(
        title="fr-reranker",
        version=version("fr-reranker-plugin"),
        description="French reranking, in the shapes of text-embeddings-inference, Jina and Cohere.",
        docs_url=None,  # the page would load scripts from elsewhere
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.door = door
    for router in _ROUTERS if first_stage is None else (*_ROUTERS, *_INDEX_ROUTERS):
        app.include_router(router)
    _answer_errors(app)
    describe(app, with_keys=bool(door.settings.keys))
    app.add_middleware(Gate, door=door, paths=frozenset(app.openapi()["paths"]) | {"/openapi.json"} | front_page.PATHS)
    return app


def _first_stage(index: Path | str | None, model: ModelSettings, *, sample: bool) -> FirstStage | None:
    if sample and index is not None:
        raise SettingsError(f"give an index or the sample collection, not both (index is {str(index)!r})")
    if sample:
        return SampleFirstStage(model)
    return None if index is None else FirstStage(index, model)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    door: Door = app.state.door
    warming = asyncio.create_task(_warm_up(door))
    try:
        yield
    finally:
        warming.cancel()
        await asyncio.gather(warming, return_exceptions=True)
        if door.first_stage is not None:
            await asyncio.to_thread(door.first_stage.close)
        await asyncio.to_thread(door.scorer.close)


async def _warm_up(door: Door) -> None:
    """Load everything and answer once, so that the first request does not pay for it."""
    try:
        await door.scorer.awarm_up()
        await door.reader().ascore(_PROBE)
        if door.first_stage is not None:
            await door.first_stage.warm_up()
    except RerankerError as error:
        door.readiness.fail(error)
    except Exception as error:
        logger.exception("loading failed")
        door.readiness.fail(error)
    else:
        door.readiness.ready()


def _answer_errors(app: FastAPI) -> None:
    """Answer every error in the shape of its endpoint."""

    async def refused(request: Request, error: Exception) -> Response:
        refusal, notes = _refusal(error), notes_of(request.scope)
        notes.code = refusal.code
        if refusal.code == "internal_error":
            logger.error("a request failed", exc_info=error)
        elif refusal.code == "scoring_failed":
            logger.error("the model failed on a request", extra=with_fields(cause=type(error.__cause__).__name__))
        response = response_of(refusal, notes.path)
        response.headers.update(getattr(error, "headers", None) or {})  # `Allow`, where another method is
        return response

    for kind in (RefusedError, RerankerError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, refused)


def _refusal(error: Exception) -> RefusedError:
    match error:
        case RefusedError():
            return error
        case RerankerError():
            return refusal_of(error)
        case RequestValidationError():
            first = error.errors()[0]
            return RefusedError("invalid_request", f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        case HTTPException(status_code=404):
            return RefusedError("not_found", "there is no such endpoint; /openapi.json lists all")
        case HTTPException(status_code=405):
            return RefusedError("method_not_allowed", "this endpoint has another method; /openapi.json lists all")
        case _:
            return RefusedError("invalid_request", str(error))
