"""Who may ask, and what is written down of it."""

import io
import json
import logging
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from engines import TIMEOUT, FailsOn, wait_until
from fr_reranker_plugin import ModelSettings, SettingsError, SharedScorer
from fr_reranker_plugin.serving import ApiKeys, ServerSettings
from fr_reranker_plugin.serving import keys as module
from fr_reranker_plugin.serving.keys import KEYS_VARIABLE
from fr_reranker_plugin.serving.logs import JsonLines
from serving.conftest import running

KEY, OTHER_KEY = "clef-très-secrète-1", "clef-très-secrète-2"
SECRET_TEXT = "passage-confidentiel"
SECRET_QUESTION = "question-confidentielle"


def bearer(key):
    return f"Bearer {key}".encode()


@pytest.mark.parametrize("header", [bearer(KEY), bearer(OTHER_KEY), f"bearer  {KEY} ".encode()])
def test_each_key_is_accepted(header):
    assert ApiKeys([KEY, OTHER_KEY]).accepts(header)


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        KEY.encode(),
        b"Basic " + KEY.encode(),
        b"Digest " + KEY.encode(),  # as long as the right scheme
        b"Bearer" + KEY.encode(),
        *map(bearer, ("autre", KEY + "1", KEY[:-1], f"{KEY} {OTHER_KEY}")),
    ],
)
def test_nothing_else_is(header):
    assert not ApiKeys([KEY, OTHER_KEY]).accepts(header)


def test_without_keys_everyone_may_ask():
    assert ApiKeys().accepts(None)
    assert not ApiKeys()


def test_one_string_is_not_taken_for_a_list_of_keys():
    with pytest.raises(SettingsError, match=r"got one string; write ApiKeys\(\[key\]\)") as caught:
        ApiKeys(KEY)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("keys", [KEY, [KEY], None])
def test_settings_take_no_keys_of_another_kind(keys):
    with pytest.raises(SettingsError, match="keys must be ApiKeys, got (str|list|NoneType)") as caught:
        ServerSettings(keys=keys)
    assert KEY not in str(caught.value)


def test_keys_are_never_shown():
    keys = ApiKeys([KEY])
    settings = ServerSettings(keys=keys)
    assert KEY not in f"{keys!r} {settings!r} {keys._digests!r}"


def test_every_key_is_compared_whatever_came(monkeypatch: pytest.MonkeyPatch):
    compared = []
    compare = module.compare_digest
    monkeypatch.setattr(module, "compare_digest", lambda one, other: compared.append(one) or compare(one, other))
    keys = ApiKeys([KEY, OTHER_KEY, "troisième"])
    for header in (None, bearer(KEY), bearer("faux"), b"Basic x"):
        compared.clear()
        keys.accepts(header)
        assert [len(one) for one in compared] == [32, 32, 32], "digests of one length, all of them"


def test_keys_are_read_from_a_file(tmp_path: Path):
    path = tmp_path / "keys"
    path.write_text(f"# les clefs\n\n  {KEY}  \n{OTHER_KEY}\n", encoding="utf-8")
    keys = ApiKeys.from_file(path)
    assert keys.accepts(bearer(KEY))
    assert keys.accepts(bearer(OTHER_KEY))
    assert not keys.accepts(b"Bearer # les clefs")


def test_a_file_of_keys_may_begin_with_a_byte_order_mark(tmp_path: Path):
    path = tmp_path / "keys"
    path.write_text(f"{KEY}\n", encoding="utf-8-sig")
    assert ApiKeys.from_file(path).accepts(bearer(KEY))


@pytest.mark.parametrize(("content", "reason"), [(b"# rien\n", "no API key"), (b"\xff", "UTF-8"), (b"a b\n", "white")])
def test_a_file_without_a_usable_key_is_refused_rather_than_letting_everyone_in(content, reason, tmp_path: Path):
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=reason):
        ApiKeys.from_file(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(SettingsError, match="cannot be read"):
        ApiKeys.from_file(tmp_path / "absent")


def test_keys_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEYS_VARIABLE, f"{KEY}, {OTHER_KEY}")
    assert ApiKeys.from_environment().accepts(bearer(OTHER_KEY))
    monkeypatch.setenv(KEYS_VARIABLE, " ")
    with pytest.raises(SettingsError, match=KEYS_VARIABLE):
        ApiKeys.from_environment()
    monkeypatch.delenv(KEYS_VARIABLE)
    assert not ApiKeys.from_environment()


@pytest.fixture(scope="module")
def locked_server(tiny_model: str):
    """A server that asks for a key."""
    with running(SharedScorer(ModelSettings(model=tiny_model)), ServerSettings(keys=ApiKeys([KEY]))) as server:
        yield server


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank", "/score", "/metrics", "/info", "/nowhere"])
def test_a_missing_and_a_wrong_key_get_one_and_the_same_answer(path, locked_server):
    answers = [
        locked_server.post(path, content=content, headers={"Content-Type": "application/json", **headers})
        for headers in ({}, {"Authorization": bearer("faux")}, {"Authorization": b"Basic " + KEY.encode()})
        for content in (b"", b"{", b'{"query": "q", "texts": []}')
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}


def test_two_keys_in_one_request_are_none(locked_server):
    headers = [("Authorization", bearer(KEY)), ("Authorization", bearer("faux"))]
    assert httpx.get(locked_server.url + "/metrics", headers=headers, timeout=TIMEOUT).status_code == 401


def test_health_and_readiness_ask_for_no_key(locked_server):
    assert locked_server.get("/health").status_code == locked_server.get("/ready").status_code == 200


@pytest.fixture
def log():
    """What the server of this test writes, as text."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    root, level = logging.getLogger(), logging.getLogger("fr_reranker_plugin").level
    root.addHandler(handler)
    logging.getLogger("fr_reranker_plugin").setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    logging.getLogger("fr_reranker_plugin").setLevel(level)


def entries(log, **fields):
    wanted = fields.items()
    return [line for line in map(json.loads, log.getvalue().splitlines()) if wanted <= line.items()]


def test_logs_say_what_happened_and_hold_neither_keys_nor_texts(log, locked_server):
    body = {"query": SECRET_QUESTION, "texts": [SECRET_TEXT, SECRET_TEXT * 500]}
    good = {"Authorization": bearer(KEY), "X-Request-ID": "a-1"}
    assert locked_server.post("/rerank", body, headers={**good, "X-Priority": "bulk"}).status_code == 200
    for path, content, headers in [
        ("/rerank", b'{"query": "' + SECRET_QUESTION.encode() + b'"', good),
        ("/score", json.dumps({"pairs": [{SECRET_TEXT: SECRET_QUESTION}]}).encode(), good),
        ("/rerank", json.dumps(body).encode(), {"Authorization": bearer(OTHER_KEY)}),
        (f"/{SECRET_TEXT}?{SECRET_QUESTION}={KEY}", b"", good),
        (f"/rerank?query={SECRET_QUESTION}", b"", {"X-Request-ID": f"{SECRET_TEXT}?"}),
    ]:
        assert locked_server.post(path, content=content, headers=headers).status_code in (400, 401, 404, 422)
    wait_until(lambda: len(entries(log, message="request")) == 6)
    [line] = entries(log, message="request", request_id="a-1", status=200)
    assert line["endpoint"] == "/rerank"
    assert (line["priority"], line["texts"], line["truncated"], line["code"]) == ("bulk", 2, 1, "ok")
    assert line["tokens"] > 0
    assert line["milliseconds"] > 0
    assert {one["code"] for one in entries(log, message="request")} == {
        "ok",
        "invalid_json",
        "invalid_request",
        "unauthorized",
        "not_found",
    }
    for secret in (KEY, OTHER_KEY, SECRET_TEXT, SECRET_QUESTION):
        assert secret not in log.getvalue()


def test_a_request_on_which_the_model_fails_is_500_and_its_text_stays_out_of_the_log(
    log, serve, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fr_reranker_plugin.scoring.engines.load_engines", lambda _: [FailsOn(SECRET_TEXT)])
    server = serve(SharedScorer(ModelSettings(model=f"fails-{uuid4().hex}")))
    answer = server.post("/rerank", {"query": SECRET_QUESTION, "texts": [SECRET_TEXT, "un autre"]})
    assert (answer.status_code, answer.json()["code"]) == (500, "scoring_failed")
    assert server.post("/rerank", {"query": SECRET_QUESTION, "texts": ["un autre"]}).status_code == 200
    wait_until(lambda: len(entries(log, message="request")) == 2)
    assert entries(log, message="the model failed on a request", cause="RuntimeError")
    assert SECRET_QUESTION not in log.getvalue()


def test_a_mistake_of_ours_is_500_says_so_and_leaves_its_place_in_the_log(
    log, serve, tiny_model, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise LookupError(SECRET_TEXT)

    server = serve(SharedScorer(ModelSettings(model=tiny_model)))
    monkeypatch.setattr("fr_reranker_plugin.serving.tei._check_cut", broken)
    answer = server.post("/rerank", {"query": "q", "texts": ["t"]})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "bug" in answer.json()["message"]
    wait_until(lambda: entries(log, message="request", code="internal_error"))
    [line] = entries(log, message="a request failed")
    assert line["error"] == "LookupError"
    assert "test_keys_and_logs.py" in line["at"][-1]
    assert line["request_id"] == answer.headers["x-request-id"]
    assert SECRET_TEXT not in log.getvalue()


def test_a_number_that_the_client_gave_is_kept_and_any_other_replaced(tiny_server):
    assert tiny_server.get("/health", headers={"X-Request-ID": "mon-numéro_1.2".replace("é", "e")}).headers[
        "x-request-id"
    ] == ("mon-numero_1.2")
    for odd in ("", "deux mots", "a" * 65, '"}', "a\tb"):
        given = tiny_server.get("/health", headers={"X-Request-ID": odd}).headers["x-request-id"]
        assert given != odd
        assert len(given) == 32
