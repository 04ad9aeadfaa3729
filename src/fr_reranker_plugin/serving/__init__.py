"""The door to the network: one scorer behind HTTP, in the shapes that clients of other rerankers already speak.

`create_app` gives the FastAPI application; `fr-reranker serve` runs it.
"""

from __future__ import annotations

from fr_reranker_plugin.errors import MissingDependencyError

try:
    import fastapi  # noqa: F401 -- asked for here, so that the error below names the extra
    import prometheus_client  # noqa: F401
    import uvicorn  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingDependencyError(
        "fr_reranker_plugin.serving needs FastAPI, uvicorn and prometheus-client: "
        "pip install 'fr-reranker-plugin[serve]'"
    ) from error

from fr_reranker_plugin.serving.app import create_app
from fr_reranker_plugin.serving.keys import ApiKeys
from fr_reranker_plugin.serving.settings import ServerSettings

__all__ = ["ApiKeys", "ServerSettings", "create_app"]
