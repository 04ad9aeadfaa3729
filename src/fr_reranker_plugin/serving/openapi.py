"""The description of the endpoints in OpenAPI."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from fr_reranker_plugin.serving.bodies import SCHEMAS
from fr_reranker_plugin.serving.pairs import ScoreRequest
from fr_reranker_plugin.serving.rerank_v1 import V1Request
from fr_reranker_plugin.serving.rerank_v2 import V2Request
from fr_reranker_plugin.serving.retrieve import RetrieveRequest
from fr_reranker_plugin.serving.tei import TeiRequest

_BODIES: Final[tuple[type[BaseModel], ...]] = (TeiRequest, V1Request, V2Request, ScoreRequest, RetrieveRequest)
_SCHEME: Final = "bearer"


def describe(app: FastAPI, *, with_keys: bool) -> None:
    """Complete what FastAPI writes by itself: the bodies, which it does not read, and the keys.

    :param with_keys: Whether the server asks for a key.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(app, with_keys=with_keys)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation says


def _complete(app: FastAPI, *, with_keys: bool) -> dict[str, Any]:
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = schema.setdefault("components", {})
    _, bodies = models_json_schema([(body, "validation") for body in _BODIES], ref_template=SCHEMAS)
    components["schemas"] = {**components.get("schemas", {}), **bodies["$defs"]}
    if with_keys:
        components["securitySchemes"] = {_SCHEME: {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{_SCHEME: []}]
    return schema
