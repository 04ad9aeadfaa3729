"""Running the application until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from fr_reranker_plugin.serving.door import Door

_DRAIN: Final = 0.5
"""Seconds in which what was sent on open connections before the stop still is read."""

_BACKLOG: Final = 2048


class Server(uvicorn.Server):
    """A server that ends well: told to stop, it takes no new connections, answers what it was sent, and returns.

    :param app: Made by `create_app`.
    :param port: 0 takes a free one.
    """

    def __init__(self, app: FastAPI, *, host: str, port: int) -> None:
        self._door: Final[Door] = app.state.door
        self._door.readiness.on_failure = self.stop
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                backlog=_BACKLOG,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=round(max(1.0, self._door.settings.grace_period)),
            )
        )

    def stop(self) -> None:
        """Begin to end; safe to call from a signal handler."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 -- uvicorn's signature
        """Stop at the first signal, at once at the second interrupt.

        uvicorn would raise the signal again at the end, and the exit code would tell of a death instead of an end.
        """
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.stop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the door, answer what came in, then let go of the model."""
        for listener in self.servers:
            listener.close()
        if self._door.readiness.state != "failed":
            self._door.readiness.stop()
        await asyncio.sleep(_DRAIN)
        await super().shutdown(sockets)
