"""Whatever comes is answered with a sentence, and the process goes on."""

import gc
import json
import resource
import socket
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines import TIMEOUT
from fr_reranker_plugin import ModelSettings, SettingsError, SharedScorer
from fr_reranker_plugin.serving import ServerSettings
from serving.conftest import running

STATM = Path("/proc/self/statm")
PATHS = ("/rerank", "/v1/rerank", "/v2/rerank", "/score")
GOOD = {
    "/rerank": {"query": "q", "texts": ["t"]},
    "/v1/rerank": {"query": "q", "documents": ["t"]},
    "/v2/rerank": {"query": "q", "documents": ["t"]},
    "/score": {"pairs": [{"query": "q", "passage": "p"}]},
}
BODIES = [
    b"",
    b"null",
    b"[]",
    b"{",
    b'"query"',
    b"NaN",
    b"\x00",
    b"\xff\xfe{}",
    b'{"query": "\xff", "texts": ["t"], "documents": ["t"]}',
    b'{"query": "\\ud800", "texts": ["t"], "documents": ["t"]}',
    b"[" * 100_000,
    b'{"query":' * 20_000,
    b'{"query": "q", "texts": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    b'{"query": 1' + b"0" * 100_000 + b', "texts": ["t"], "documents": ["t"]}',
    b'{"query": "q", "texts": [1' + b"0" * 10_000 + b'], "documents": [1e999], "pairs": [1e999]}',
    b'{"query": "q", "texts": "t", "documents": "t", "pairs": "t"}',
    b'{"query": "q", "texts": {"0": "t"}, "documents": {"0": "t"}, "pairs": {}}',
    b'{"query": "q", "texts": [null], "documents": [null], "pairs": [null]}',
    b'{"query": ["q"], "texts": ["t"], "documents": ["t"]}',
    b'{"query": "q", "texts": ["t"], "raw_scores": "yes", "documents": ["t"], "top_n": "1"}',
    b'{"query": "q", "texts": ["t"], "truncation_direction": "Up", "documents": ["t"], "top_n": 0}',
    b'{"query": "q", "texts": ["t"], "return_text": 1, "documents": ["t"], "top_n": -1' + b"0" * 5000 + b"}",
    b'{"query": "q", "texts": [' + b"1," * 200_000 + b'1], "documents": [' + b"1," * 200_000 + b"1]}",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:40]))
def test_a_malformed_body_is_refused_with_a_sentence(path, body, tiny_server):
    answer = httpx.post(tiny_server.url + path, content=body, timeout=TIMEOUT)
    assert answer.status_code in (400, 422), answer.text
    problem = answer.json()
    assert problem["code"] in ("invalid_json", "invalid_request")
    assert 10 < len(problem["message"]) < 500
    assert tiny_server.post(path, GOOD[path]).status_code == 200


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        "query",
        "texts",
        "documents",
        "pairs",
        "raw_scores",
        "return_text",
        "truncate",
        "truncation_direction",
        "top_n",
        "rank_fields",
        "return_documents",
        "max_chunks_per_doc",
        "max_tokens_per_doc",
        "model",
        "passage",
    ]
)
OBJECTS = st.dictionaries(FIELDS, ANYTHING, max_size=5).map(lambda value: json.dumps(value).encode())
BROKEN = st.binary(max_size=200) | ANYTHING.map(lambda value: json.dumps(value).encode())


@st.composite
def damaged(draw):
    """A good body in which a few bytes were changed, removed or repeated."""
    body = bytearray(json.dumps(draw(st.sampled_from(list(GOOD.values())))).encode())
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(body) - 1)) if body else 0
        body[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(body)


@settings(max_examples=1300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=OBJECTS | BROKEN | damaged())
@pytest.mark.parametrize("path", PATHS)
def test_no_body_makes_the_server_fail(path, body, tiny_server, connection):
    answer = connection.post(tiny_server.url + path, content=body)
    if answer.status_code != 200:
        assert answer.status_code in (400, 422), (answer.status_code, answer.text)
        assert set(answer.json()) >= {"code", "message"}


@pytest.mark.skipif(not STATM.exists(), reason="reads the resident memory from Linux")
def test_malformed_bodies_leave_no_memory_behind(tiny_server, connection):
    def send_all(rounds):
        for _ in range(rounds):
            for path in PATHS:
                for body in BODIES:
                    assert connection.post(tiny_server.url + path, content=body).status_code in (400, 422)
        gc.collect()
        return int(STATM.read_text().split()[1]) * resource.getpagesize()

    before = send_all(3)
    assert send_all(12) - before < 24 << 20, "the bodies are 59 MiB together"


@pytest.fixture(scope="module")
def connection():
    with httpx.Client(timeout=TIMEOUT) as connection:
        yield connection


@pytest.fixture(scope="module")
def narrow_server(tiny_model: str):
    """A server with little patience."""
    limits = ServerSettings(max_body_bytes=1000, max_texts=3, body_timeout=0.3)
    with running(SharedScorer(ModelSettings(model=tiny_model)), limits) as server:
        yield server


def test_a_body_that_is_too_large_is_refused_by_its_announced_length(narrow_server):
    answer = narrow_server.post("/rerank", {"query": "q", "texts": ["t" * 1000]})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert "1000 bytes" in answer.json()["message"]


def test_a_body_that_is_too_large_is_refused_while_it_comes(narrow_server):
    answer = httpx.post(narrow_server.url + "/rerank", content=(b"x" * 400 for _ in range(4)), timeout=TIMEOUT)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "in chunks"])
async def test_a_client_that_sends_and_reads_at_once_sees_why_its_body_is_refused(announced, tiny_server):
    async def chunks():
        for _ in range(12):
            yield b"x" * (1 << 20)

    content = b"x" * (12 << 20) if announced else chunks()
    async with httpx.AsyncClient(timeout=TIMEOUT) as client:
        answer = await client.post(tiny_server.url + "/rerank", content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert "connection" not in answer.headers, "all of it was read"


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "in chunks"])
def test_no_more_is_read_of_a_body_that_is_far_too_large(announced, narrow_server):
    content = b"x" * 20_000 if announced else (b"x" * 400 for _ in range(50))
    answer = httpx.post(narrow_server.url + "/rerank", content=content, timeout=TIMEOUT)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert answer.headers["connection"] == "close"


def test_a_body_at_the_limit_is_read(narrow_server):
    body = json.dumps({"query": "q", "texts": ["t"]}).encode()
    answer = httpx.post(narrow_server.url + "/rerank", content=body + b" " * (1000 - len(body)), timeout=TIMEOUT)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rerank", {"query": "q", "texts": ["t"] * 4}),
        ("/v2/rerank", {"query": "q", "documents": ["t"] * 4}),
        ("/score", {"pairs": [{"query": "q", "passage": "p"}] * 4}),
    ],
)
def test_too_many_texts_are_refused_with_how_many_may_come(path, body, narrow_server):
    answer = narrow_server.post(path, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_texts")
    assert "may have 3 texts, this one has 4" in answer.json()["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rerank", {"query": "q", "texts": [""] * 10_001}),
        ("/v1/rerank", {"query": "q", "documents": [{"text": "t"}] * 10_001}),
        ("/v2/rerank", {"query": "q", "documents": [""] * 10_001}),
        ("/score", {"pairs": [{"query": "q", "passage": "p"}] * 10_001}),
    ],
)
def test_what_no_server_takes_is_refused_before_all_of_it_is_read(path, body, tiny_server):
    answer = tiny_server.post(path, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "at most 10000 items" in answer.json()["message"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_texts": 10_001},
        {"max_texts": 0},
        {"max_body_bytes": 0},
        {"request_timeout": 0},
        {"body_timeout": float("inf")},
        {"grace_period": True},
        {"long_documents": "all"},
        {"window_overlap": -1},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        ServerSettings(**wrong)


def test_a_client_that_never_finishes_its_body_is_answered_and_left(narrow_server):
    address = httpx.URL(narrow_server.url)
    with socket.create_connection((address.host, address.port), TIMEOUT) as connection:
        connection.sendall(b"POST /rerank HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\n{")
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body_too_slow" in answer


def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(narrow_server):
    address = httpx.URL(narrow_server.url)
    connection = socket.create_connection((address.host, address.port), TIMEOUT)
    connection.sendall(b"POST /rerank HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\n{")
    connection.close()
    assert narrow_server.post("/rerank", GOOD["/rerank"]).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/rerank", 405, "method_not_allowed"),
        ("DELETE", "/v2/rerank", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
    ],
)
def test_a_wrong_place_or_method_is_said_so(method, path, status, code, tiny_server):
    answer = httpx.request(method, tiny_server.url + path, timeout=TIMEOUT)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("allow" in answer.headers) == (status == 405)


def test_errors_have_the_names_that_each_dialect_looks_for(tiny_server):
    problems = {path: tiny_server.post(path, {}).json() for path in PATHS}
    for problem in problems.values():
        assert set(problem) >= {"code", "message"}
    assert problems["/rerank"]["error"] == problems["/rerank"]["message"]
    assert problems["/rerank"]["error_type"] == "Validation"
    assert problems["/v1/rerank"]["detail"] == problems["/v1/rerank"]["message"]
