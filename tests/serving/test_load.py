"""What becomes of requests while the model is busy."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from uuid import uuid4

import httpx
import pytest

from engines import TIMEOUT, LosesItsDevice, wait_until
from fr_reranker_plugin import BatchSettings, ModelSettings, SharedScorer
from fr_reranker_plugin.serving import ServerSettings


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as pool:
        yield pool


def rerank(server, *texts, **headers):
    return server.post("/rerank", {"query": "q", "texts": list(texts)}, headers=headers)


def waiting(server):
    return server.door.scorer.snapshot().waiting_pairs


def occupy(server, pool):
    """Send a request that the model holds on to."""
    first = pool.submit(rerank, server, "premier")
    assert server.engine.started.wait(TIMEOUT)
    return first


def test_a_full_queue_is_answered_with_429_and_when_to_come_again(gated_server, pool):
    server = gated_server(batch=BatchSettings(max_waiting_pairs=2))
    first = occupy(server, pool)
    second = pool.submit(rerank, server, "a", "b")
    wait_until(lambda: waiting(server) == 2)
    refused = rerank(server, "c")
    assert (refused.status_code, refused.json()["code"], refused.json()["error_type"]) == (
        429,
        "overloaded",
        "Overloaded",
    )
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["retry_after"] > 0
    server.engine.gate.set()
    assert first.result(TIMEOUT).status_code == second.result(TIMEOUT).status_code == 200


def test_a_deadline_is_answered_with_504_and_its_pairs_are_not_scored(gated_server, pool):
    server = gated_server()
    first = occupy(server, pool)
    late = rerank(server, "trop tard", **{"X-Request-Timeout": "0.05"})
    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
    assert "0.05 s" in late.json()["message"]
    server.engine.gate.set()
    assert first.result(TIMEOUT).status_code == 200
    assert rerank(server, "encore").status_code == 200
    assert all("trop tard" not in batch for batch in server.engine.batches)


def test_the_servers_own_limit_bounds_what_a_client_asks_for(gated_server, pool):
    server = gated_server(ServerSettings(request_timeout=0.05))
    first = occupy(server, pool)
    assert rerank(server, "a", **{"X-Request-Timeout": "60"}).status_code == 504
    server.engine.gate.set()
    first.result(TIMEOUT)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon", "1e999", ""])
def test_a_timeout_that_is_no_time_is_refused(value, gated_server):
    server = gated_server()
    server.engine.gate.set()
    refused = rerank(server, "a", **{"X-Request-Timeout": value})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert "X-Request-Timeout" in refused.json()["message"]


def test_interactive_requests_go_before_bulk_ones(gated_server, pool):
    server = gated_server(batch=BatchSettings(max_batch_tokens=8, max_batch_size=1))
    answers = [occupy(server, pool)]
    answers.append(pool.submit(rerank, server, "masse", **{"X-Priority": "bulk"}))
    wait_until(lambda: waiting(server) == 1)
    answers.append(pool.submit(rerank, server, "presse", **{"X-Priority": "interactive"}))
    wait_until(lambda: waiting(server) == 2)
    server.engine.gate.set()
    assert [answer.result(TIMEOUT).status_code for answer in answers] == [200, 200, 200]
    assert server.engine.batches == [["premier"], ["presse"], ["masse"]]


def test_a_priority_that_there_is_not_is_refused(gated_server):
    refused = rerank(gated_server(), "a", **{"X-Priority": "royal"})
    assert refused.status_code == 422
    assert "X-Priority" in refused.json()["message"]


def send_raw(server, *texts):
    """Send a request and leave the connection open."""
    request = httpx.Request("POST", server.url + "/rerank", json={"query": "q", "texts": list(texts)})
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    connection = socket.create_connection((request.url.host, request.url.port), TIMEOUT)
    connection.sendall(f"POST /rerank HTTP/1.1\r\n{head}\r\n".encode() + request.read())
    return connection


def test_what_clients_that_hang_up_asked_for_is_not_scored(gated_server, pool):
    server = gated_server()
    first = occupy(server, pool)
    connections = [send_raw(server, f"parti {number}", f"perdu {number}") for number in range(10)]
    stays = pool.submit(rerank, server, "reste")
    wait_until(lambda: waiting(server) == 21)
    for connection in connections:
        connection.close()
    wait_until(lambda: waiting(server) == 1)
    server.engine.gate.set()
    assert first.result(TIMEOUT).status_code == stays.result(TIMEOUT).status_code == 200
    assert server.engine.batches == [["premier"], ["reste"]]
    assert server.door.scorer.snapshot().cancelled_pairs == 20
    closed = 'fr_reranker_http_requests_total{code="client_closed",endpoint="/rerank",status="499"} 10.0'
    assert closed in server.get("/metrics").text


def test_a_lost_device_ends_readiness_and_health(serve, monkeypatch: pytest.MonkeyPatch):
    engine = LosesItsDevice()
    engine.gate.set()
    engine.lost = False
    lose, engine.forward = engine.forward, lambda batch: lose(batch) if engine.lost else [1.0] * len(batch)
    monkeypatch.setattr("fr_reranker_plugin.scoring.engines.load_engines", lambda _: [engine])
    server = serve(SharedScorer(ModelSettings(model=f"lost-{uuid4().hex}")))
    assert server.get("/ready").status_code == server.get("/health").status_code == 200
    engine.lost = True
    answers = [rerank(server, "a"), rerank(server, "b")]
    wait_until(lambda: server.get("/health").status_code == 503)
    answers += [server.get("/health"), server.get("/ready")]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "device_lost")}


def test_health_and_metrics_answer_while_the_model_is_busy(gated_server, pool):
    server = gated_server()
    answers = [occupy(server, pool), *(pool.submit(rerank, server, f"texte {number}") for number in range(10))]
    wait_until(lambda: waiting(server) == 10)
    started = perf_counter()
    health, metrics = server.get("/health"), server.get("/metrics")
    assert perf_counter() - started < TIMEOUT / 4
    assert health.json()["engines_alive"] == 1
    assert health.json()["oldest_waiting_seconds"] > 0
    assert 'fr_reranker_waiting_pairs{priority="interactive"} 10.0' in metrics.text
    assert "fr_reranker_http_requests_in_flight 12.0" in metrics.text
    assert server.get("/ready").status_code == 200
    server.engine.gate.set()
    assert all(answer.result(TIMEOUT).status_code == 200 for answer in answers)


def test_many_clients_at_once_get_each_their_own_answer(tiny_server):
    texts = [[f"Le texte {number} {'long ' * (number % 7)}", "Un autre texte."] for number in range(60)]
    alone = [rerank(tiny_server, *some).json() for some in texts]
    barrier = threading.Barrier(12)

    def client(part):
        barrier.wait(TIMEOUT)
        with httpx.Client(base_url=tiny_server.url, timeout=TIMEOUT) as connection:
            return [connection.post("/rerank", json={"query": "q", "texts": some}).json() for some in part]

    with ThreadPoolExecutor(12) as pool:
        together = [one for part in pool.map(client, [texts[start::12] for start in range(12)]) for one in part]
    expected = [one for start in range(12) for one in alone[start::12]]
    for found, wanted in zip(together, expected, strict=True):
        assert {one["index"]: one["score"] for one in found} == pytest.approx(
            {one["index"]: one["score"] for one in wanted}, abs=1e-5
        )
