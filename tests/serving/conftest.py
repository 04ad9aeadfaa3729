"""A real server on a free port of this machine, in a thread of the test's process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

import httpx
import pytest

from engines import TIMEOUT, GatedEngine, wait_until
from fr_reranker_plugin import BatchSettings, ModelSettings, SharedScorer
from fr_reranker_plugin.serving import ServerSettings, create_app
from fr_reranker_plugin.serving.door import Door
from fr_reranker_plugin.serving.server import Server


class Running:
    """A server that answers.

    :ivar url: Where, without a slash at the end.
    """

    def __init__(self, server: Server, door: Door) -> None:
        self.server, self.door = server, door
        port = server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **options) -> httpx.Response:
        return httpx.get(self.url + path, timeout=TIMEOUT, **options)

    def post(self, path: str, json=None, **options) -> httpx.Response:
        return httpx.post(self.url + path, json=json, timeout=TIMEOUT, **options)


@contextmanager
def running(scorer: SharedScorer, settings: ServerSettings | None = None, **options) -> Iterator[Running]:
    """Run a server until the block ends; it is ready when the block begins."""
    app = create_app(scorer, settings, **options)
    server = Server(app, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        wait_until(lambda: app.state.door.readiness.state != "loading")
        yield Running(server, app.state.door)
    finally:
        server.stop()
        thread.join(TIMEOUT)
        assert not thread.is_alive()


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """Start servers that end with the test."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(running(*arguments, **options))


@pytest.fixture(scope="module")
def tiny_server(tiny_model: str) -> Iterator[Running]:
    """A server with a tiny model, for tests that change nothing."""
    with running(SharedScorer(ModelSettings(model=tiny_model))) as server:
        yield server


class GatedServer(Running):
    """A server whose model waits in every batch until `engine.gate` is open."""

    engine: GatedEngine


@pytest.fixture
def gated_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., GatedServer]]:
    """Start a server with a gated engine; the gate is closed once the server is ready, and open again at the end."""
    engine = GatedEngine()
    engine.gate.set()
    monkeypatch.setattr("fr_reranker_plugin.scoring.engines.load_engines", lambda _: [engine])
    with ExitStack() as stack:

        def start(settings: ServerSettings | None = None, batch: BatchSettings | None = None) -> GatedServer:
            scorer = SharedScorer(ModelSettings(model=f"gated-{uuid4().hex}"), batch)
            server = stack.enter_context(running(scorer, settings))
            stack.callback(engine.gate.set)
            assert server.door.readiness.state == "ready", server.door.readiness.failure
            engine.gate.clear()
            engine.started.clear()
            engine.batches.clear()
            server.engine = engine
            return server

        yield start
