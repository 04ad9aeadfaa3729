"""Whether requests can be answered yet, and still."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Literal

from fr_reranker_plugin.serving.problems import RefusedError

logger = logging.getLogger(__name__)

State = Literal["loading", "ready", "failed", "stopping"]


class Readiness:
    """Where a server stands between its start and its end.

    :ivar on_failure: Called when the model cannot be loaded; whoever runs the server may stop it.
    """

    def __init__(self) -> None:
        self.state: State = "loading"
        self.failure: Exception | None = None
        self.on_failure: Callable[[], None] | None = None
        self._settled = asyncio.Event()

    async def settled(self) -> None:
        """Wait until the model is loaded, or cannot be."""
        await self._settled.wait()

    def ready(self) -> None:
        """Note that the model is loaded and has answered once."""
        if self.state == "loading":
            self.state = "ready"
            logger.info("ready")
        self._settled.set()

    def fail(self, error: Exception) -> None:
        """Note that the model cannot be loaded."""
        self.state, self.failure = "failed", error
        self._settled.set()
        logger.error("the model or the index cannot be loaded: %s", error)
        if self.on_failure is not None:
            self.on_failure()

    def stop(self) -> None:
        """Note that the server was told to stop: no new requests should come, those that do are still answered."""
        self.state = "stopping"

    def check(self) -> None:
        """Refuse a request that cannot be answered yet.

        :raises RefusedError: While the model is being loaded, or if that failed.
        """
        if self.state == "loading":
            raise RefusedError("not_ready", "the model is being loaded; /ready says when it can answer")
        if self.state == "failed":
            raise RefusedError("not_ready", "the model could not be loaded; the server's log says why")
