"""How a server begins and ends."""

import asyncio
import json
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from uuid import uuid4

import httpx
import pytest

from engines import TIMEOUT, GatedEngine, wait_until
from fr_reranker_plugin import ModelSettings, SharedScorer, live_scorers
from fr_reranker_plugin.serving import ServerSettings, create_app
from fr_reranker_plugin.serving.server import Server

START = 60


class Process:
    """A running `fr-reranker serve`, and what it logs."""

    def __init__(self, *arguments: str) -> None:
        script = shutil.which("fr-reranker", path=str(Path(sys.executable).parent))
        assert script is not None
        command = [script, "serve", "--port", "0", *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8")
        self.log: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            self._lines.put(line)

    def url(self) -> str:
        deadline = monotonic() + START
        while monotonic() < deadline:
            if found := re.search(r"http://127\.0\.0\.1:\d+", self._lines.get(timeout=START)):
                return found[0]
        raise AssertionError(self.log)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def start() -> Iterator:
    processes: list[Process] = []

    def start(*arguments: str) -> Process:
        processes.append(Process(*arguments))
        return processes[-1]

    yield start
    for process in processes:
        process.end()


def wait_until_ready(url: str) -> None:
    wait_until(lambda: httpx.get(f"{url}/ready", timeout=TIMEOUT).status_code == 200)


def test_a_signal_to_stop_under_load_leaves_no_request_unanswered_and_ends_with_0(start, tiny_model: str) -> None:
    process = start("--model", tiny_model)
    url = process.url()
    wait_until_ready(url)
    answered = threading.Semaphore(0)

    def client(number: int) -> list[int]:
        """Ask again and again until nobody listens any more; every other failure is one."""
        statuses = []
        with httpx.Client(timeout=TIMEOUT) as connection:
            try:
                while True:
                    body = {"query": f"question {number}", "texts": [f"texte {n} {len(statuses)}" for n in range(100)]}
                    statuses.append(connection.post(f"{url}/rerank", json=body).status_code)
                    answered.release()
            except httpx.ConnectError:
                return statuses

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client, number) for number in range(8)]
        for _ in range(16):
            assert answered.acquire(timeout=TIMEOUT)
        process.process.send_signal(signal.SIGTERM)
        statuses = [status for one in clients for status in one.result(TIMEOUT)]
    assert process.process.wait(TIMEOUT) == 0
    assert len(statuses) > 16
    assert set(statuses) == {200}
    assert all(json.loads(line)["level"] in ("info", "warning") for line in process.log), process.log


def test_a_server_stopped_while_it_loads_ends_with_0(start, tiny_model: str) -> None:
    process = start("--model", tiny_model)
    process.url()
    process.process.send_signal(signal.SIGINT)
    assert process.process.wait(START) == 0


def test_a_model_that_cannot_be_loaded_ends_the_server_with_a_sentence(start) -> None:
    process = start("--model", "/there/is/none")
    assert process.process.wait(START) == 1
    process.end()
    assert process.log[-1].startswith("fr-reranker: there is no folder '/there/is/none'")


def test_a_port_that_is_taken_ends_the_server_with_1(start, tiny_model: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start("--model", tiny_model, "--port", str(taken.getsockname()[1]))
        assert process.process.wait(START) == 1
    process.end()
    assert any("address already in use" in line for line in process.log)


def test_health_answers_while_the_model_is_loaded_and_ready_does_not(serve_loading) -> None:
    url, loaded = serve_loading
    assert httpx.get(f"{url}/health", timeout=TIMEOUT).json() == {"status": "ok"}
    for answer in (
        httpx.get(f"{url}/ready", timeout=TIMEOUT),
        httpx.post(f"{url}/rerank", json={"query": "q", "texts": ["t"]}, timeout=TIMEOUT),
    ):
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        assert int(answer.headers["retry-after"]) >= 1
    loaded.set()
    wait_until_ready(url)
    assert httpx.post(f"{url}/rerank", json={"query": "q", "texts": ["t"]}, timeout=TIMEOUT).status_code == 200


async def test_an_application_whose_model_cannot_be_loaded_is_not_healthy(tmp_path) -> None:
    app = create_app(SharedScorer(ModelSettings(model=str(tmp_path))))
    async with app.router.lifespan_context(app):
        await asyncio.wait_for(app.state.door.readiness.settled(), TIMEOUT)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            for path in ("/health", "/ready"):
                answer = await client.get(path)
                assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
                assert "could not be loaded" in answer.json()["message"]


@pytest.fixture
def serve_loading(monkeypatch: pytest.MonkeyPatch):
    """A server whose model is loaded once the event is set."""
    loaded = threading.Event()
    engine = GatedEngine()
    engine.gate.set()
    monkeypatch.setattr("fr_reranker_plugin.scoring.engines.load_engines", lambda _: [loaded.wait(TIMEOUT) and engine])
    server = Server(create_app(SharedScorer(ModelSettings(model=f"slow-{uuid4().hex}"))), host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", loaded
    loaded.set()
    server.stop()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def rerank(server, text):
    return server.post("/rerank", {"query": "q", "texts": [text]})


def test_what_was_accepted_before_the_stop_is_answered_after_it(gated_server) -> None:
    server = gated_server()
    before = live_scorers()
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(rerank, server, "premier")]
        assert server.engine.started.wait(TIMEOUT)
        answers += [pool.submit(rerank, server, f"texte {number}") for number in range(3)]
        wait_until(lambda: server.door.scorer.snapshot().waiting_pairs == 3)
        server.server.stop()
        wait_until(lambda: server.door.readiness.state == "stopping")
        server.engine.gate.set()
        assert [answer.result(TIMEOUT).status_code for answer in answers] == [200] * 4
    wait_until(lambda: live_scorers() == before - 1)


def test_an_open_connection_is_told_to_go_elsewhere_and_readiness_ends_at_once(gated_server) -> None:
    server = gated_server()
    server.engine.gate.set()
    with httpx.Client(base_url=server.url, timeout=TIMEOUT) as connection:
        assert "connection" not in connection.get("/health").headers
        server.door.readiness.stop()
        ready = connection.get("/ready")
        assert (ready.status_code, ready.json()["code"], ready.headers["connection"]) == (503, "shutting_down", "close")


def test_what_comes_on_an_open_connection_while_the_server_stops_is_answered(
    gated_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fr_reranker_plugin.serving.server._DRAIN", 3)
    server = gated_server()
    server.engine.gate.set()
    with httpx.Client(base_url=server.url, timeout=TIMEOUT) as connection:
        connection.get("/health")
        server.server.stop()
        wait_until(lambda: server.door.readiness.state == "stopping")
        answer = connection.post("/rerank", json={"query": "q", "texts": ["a"]})
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/health", timeout=TIMEOUT)


def test_what_is_not_answered_within_the_grace_period_is_told_so(gated_server) -> None:
    server = gated_server(ServerSettings(grace_period=1))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(rerank, server, "sans fin")
        assert server.engine.started.wait(TIMEOUT)
        server.server.stop()
        refused = answer.result(TIMEOUT)
    assert (refused.status_code, refused.json()["code"]) == (503, "shutting_down")


async def test_an_application_that_never_started_its_model_ends_too(tiny_model: str) -> None:
    app = create_app(SharedScorer(ModelSettings(model=tiny_model)))
    async with asyncio.timeout(TIMEOUT):
        async with app.router.lifespan_context(app):
            pass
    assert not app.state.door.scorer.is_warm
