"""The remote scorer against servers of other makes, as they are documented."""

import asyncio
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from engines import TIMEOUT, wait_until
from fr_reranker_plugin import (
    DeadlineExceededError,
    MissingDependencyError,
    OverloadedError,
    RemoteError,
    RemoteScorer,
    RemoteSettings,
    ScoringError,
    SettingsError,
)
from serving.stand_ins import as_cohere, as_jina, as_tei, logit_of, stand_in

KEY = "clef-très-secrète"
TEXT = "texte-confidentiel"
PAIRS = [(f"question {number % 3}", "é" * (number % 50)) for number in range(100)]
OF_ONE_QUESTION = [("question", "un texte"), ("question", "un autre")]
LOGITS = [logit_of(text) for _, text in PAIRS]


@pytest.fixture
def remote():
    """Make scorers that are closed with the test."""
    made = []

    def scorer(url, **options):
        made.append(RemoteScorer(RemoteSettings(url=url, **{"model": "rerank-v3.5", "max_retries": 1, **options})))
        return made[-1]

    yield scorer
    for one in made:
        one.close()


@pytest.mark.parametrize("dialect", ["auto", "tei"])
def test_text_embeddings_inference_gives_logits_within_its_limit(dialect, remote):
    with stand_in(as_tei) as server:
        logits = remote(server.url, dialect=dialect).score(PAIRS, timeout=TIMEOUT)
        assert logits == LOGITS
        sizes = sorted(len(body["texts"]) for body in server.bodies("/rerank"))
        assert sizes == [1, 1, 2, 32, 32, 32], "three questions, of 33 or 34 texts each"
        assert len(server.bodies("/info")) == 1


def test_a_limit_that_nobody_told_of_is_found(remote):
    def without_info(asked):
        return (404, {}, b"") if asked.path == "/info" else as_tei(asked, most=5)

    with stand_in(without_info) as server:
        assert remote(server.url, dialect="tei").score(PAIRS, timeout=TIMEOUT) == LOGITS
        assert max(len(body["texts"]) for body in server.bodies("/rerank")) == 32


def test_one_text_that_is_too_long_for_the_server_is_an_error_that_says_so(remote):
    def strict(asked):
        return as_tei(asked) if asked.path == "/info" else (413, {}, {"error": "inputs must have less than 512 tokens"})

    with (
        stand_in(strict) as server,
        pytest.raises(RemoteError, match="413: inputs must have less than 512 tokens; .*shorten it"),
    ):
        remote(server.url).score(PAIRS[:3], timeout=TIMEOUT)


@pytest.mark.parametrize(("reply", "dialect"), [(as_jina, "auto"), (as_jina, "jina"), (as_cohere, "cohere")])
def test_the_services_give_scores_of_which_logits_are_made(reply, dialect, remote):
    with stand_in(reply) as server:
        logits = remote(server.url, dialect=dialect).score(PAIRS, timeout=TIMEOUT)
        assert logits == pytest.approx(LOGITS, abs=1e-9)
        path = "/v2/rerank" if dialect == "cohere" else "/v1/rerank"
        assert {body["model"] for body in server.bodies(path)} == {"rerank-v3.5"}


def test_the_key_goes_to_the_server_and_nowhere_else(remote, caplog):
    caplog.set_level(logging.DEBUG)

    def busy_first(asked):
        if len(server.asked) == 2:
            return 429, {"Retry-After": "0"}, {"message": f"moins vite, {KEY}"}
        return as_tei(asked) if len(server.asked) < 4 else (401, {}, {"error": f"clef {KEY} inconnue"})

    with stand_in(busy_first) as server:
        scorer = remote(server.url, api_key=KEY)
        scorer.score([(TEXT, TEXT)], timeout=TIMEOUT)
        with pytest.raises(RemoteError, match="401: clef .* inconnue") as caught:
            scorer.score([(TEXT, TEXT)], timeout=TIMEOUT)
        sent = {one.headers["Authorization"].encode("latin-1") for one in server.asked}
        assert sent == {f"Bearer {KEY}".encode()}
    assert "asking again in" in caplog.text
    for secret in (KEY, TEXT):
        assert secret not in caplog.text + str(caught.value) + repr(caught.value)


@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_server_that_is_busy_or_not_ready_is_asked_again(status, remote):
    def busy_first(asked):
        busy = len(server.asked) in (1, 3)
        return (status, {"Retry-After": "0"}, {"error": "plus tard"}) if busy else as_tei(asked)

    with stand_in(busy_first) as server:
        assert remote(server.url).score(PAIRS[:2], timeout=TIMEOUT) == LOGITS[:2]
        assert [one.path for one in server.asked] == ["/info", "/info", "/rerank", "/rerank", "/rerank"]


def test_a_server_that_stays_busy_is_an_error_with_the_time_to_come_again(remote):
    with stand_in(lambda _: (429, {"Retry-After": "0"}, {"error": "complet"})) as server:
        with pytest.raises(OverloadedError, match="answered 429 after 2 tries: complet"):
            remote(server.url).score(PAIRS[:1], timeout=TIMEOUT)
        assert len(server.asked) == 2


def test_no_time_is_spent_on_waiting_for_what_would_come_too_late(remote):
    with stand_in(lambda _: (429, {"Retry-After": "25"}, {"error": "complet"})) as server:
        with pytest.raises(OverloadedError, match="after one try") as caught:
            remote(server.url, max_retries=9).score(PAIRS[:1], timeout=20)
        assert (len(server.asked), caught.value.retry_after) == (1, 25.0)


def test_a_server_that_is_not_there_is_an_error_with_its_address(remote):
    with stand_in(as_tei) as server:
        url = server.url
    with pytest.raises(RemoteError, match=rf"no answer from {url}/info after 2 tries: Connection refused; is the serv"):
        remote(url).score(PAIRS[:1])


def test_the_reason_is_the_systems_whatever_stands_between(remote):
    with stand_in(as_tei) as server:
        port = server.server.server_address[1]
        with pytest.raises(RemoteError, match="SSL"):
            remote(f"https://127.0.0.1:{port}", max_retries=0).warm_up()
    with pytest.raises(RemoteError, match="after one try: Connection refused"):
        remote(f"http://localhost:{port}", max_retries=0).warm_up()


def test_a_host_that_cannot_be_one_is_refused_as_a_setting(remote):
    with pytest.raises(SettingsError, match="http://xn--.example/info is no address"):
        remote("http://xn--.example").warm_up()


def test_a_name_that_nobody_has_is_an_error_with_the_reason(remote, monkeypatch):
    import socket

    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(RemoteError, match="http://nulle-part.example/info after one try: Name or service not known"):
        remote("http://nulle-part.example", max_retries=0).warm_up()


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((200, {"Content-Type": "text/html"}, b"<html>Bienvenue"), "expected JSON from .*/rerank, got text/html"),
        ((200, {}, [{"index": 0, "score": 1.0}]), "expected 2 scores, one for each text, the server gave 1"),
        ((422, {}, {"error": "illisible", "error_type": "Tokenizer"}), "answered 422: illisible$"),
        ((307, {"Location": "/ailleurs"}, b""), "answered 307: .*set remote_url to the final address"),
    ],
)
def test_what_cannot_be_used_is_an_error_that_says_why(reply, message, remote):
    with stand_in(lambda asked: as_tei(asked) if asked.path == "/info" else reply) as server:
        with pytest.raises(RemoteError, match=message):
            remote(server.url).score(OF_ONE_QUESTION, timeout=TIMEOUT)
        assert len(server.bodies("/rerank")) == 1, "asking again would not help"


def test_a_logit_that_is_not_finite_is_an_error_as_in_process(remote):
    def reply(asked):
        return as_tei(asked) if asked.path == "/info" else (200, {}, b'[{"index": 0, "score": NaN}]')

    with stand_in(reply) as server, pytest.raises(ScoringError, match="logit nan for the pair"):
        remote(server.url).score(PAIRS[:1], timeout=TIMEOUT)


def test_a_server_with_another_model_than_was_named_is_warned_of_once(remote, caplog):
    with stand_in(as_tei) as server:
        scorer = remote(server.url, model="autre/modèle")
        for _ in range(3):
            scorer.score(PAIRS[:1], timeout=TIMEOUT)
    [record] = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert "scores with the model 'BAAI/bge-reranker-v2-m3'; 'autre/modèle' was named" in record.getMessage()


class Silent:
    """Answers `/info`, and then nothing until its client has hung up."""

    def __init__(self):
        self.begun, self.hung_up = threading.Event(), threading.Event()

    def __call__(self, asked):
        if asked.path == "/info":
            return as_tei(asked)
        self.begun.set()
        asked.wait_until_hung_up()
        self.hung_up.set()
        return 200, {}, []


def test_a_deadline_that_passes_closes_the_connection(remote):
    silent = Silent()
    with stand_in(silent) as server:
        scorer = remote(server.url)
        scorer.warm_up()
        with pytest.raises(DeadlineExceededError, match="no answer within 0.2 s for 2 pairs"):
            scorer.score(OF_ONE_QUESTION, timeout=0.2)
        assert silent.hung_up.wait(TIMEOUT)
        [asked] = [one for one in server.asked if one.path == "/rerank"]
        assert 0 < float(asked.headers["X-Request-Timeout"]) <= 0.2


async def test_cancelling_closes_the_connection(remote):
    silent = Silent()
    with stand_in(silent) as server:
        task = asyncio.create_task(remote(server.url).ascore(PAIRS[:1]))
        assert await asyncio.to_thread(silent.begun.wait, TIMEOUT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(silent.hung_up.wait, TIMEOUT)


def test_closing_waits_for_what_is_under_way_and_using_it_again_opens_it(remote):
    begun, gate = threading.Event(), threading.Event()

    def gated(asked):
        if asked.path == "/rerank":
            begun.set()
            assert gate.wait(TIMEOUT)
        return as_tei(asked)

    with stand_in(gated) as server:
        scorer, answers = remote(server.url), []
        asking = threading.Thread(target=lambda: answers.append(scorer.score(PAIRS[:1])))
        asking.start()
        assert begun.wait(TIMEOUT)
        closing = threading.Thread(target=scorer.close)
        closing.start()
        gate.set()
        for thread in (asking, closing):
            thread.join(TIMEOUT)
            assert not thread.is_alive()
        assert answers == [LOGITS[:1]]
        assert not scorer.is_warm
        assert scorer.score(PAIRS[:1], timeout=TIMEOUT) == LOGITS[:1]


def test_closing_waits_for_a_warm_up(remote):
    begun, gate = threading.Event(), threading.Event()

    def busy_first(asked):
        if begun.is_set():
            return as_tei(asked)
        begun.set()
        assert gate.wait(TIMEOUT)
        return 503, {}, {"error": "plus tard"}

    with stand_in(busy_first) as server, ThreadPoolExecutor(2) as pool:
        scorer = remote(server.url)
        warming = pool.submit(scorer.warm_up)
        assert begun.wait(TIMEOUT)
        closing = pool.submit(scorer.close)
        wait_until(lambda: not scorer.is_warm)
        gate.set()
        for call in (warming, closing):
            assert call.result(TIMEOUT) is None
        assert len(server.bodies("/info")) == 2


def test_all_who_wait_for_a_server_share_its_answer_and_its_error(remote):
    gate = threading.Event()

    def refusing(_):
        assert gate.wait(TIMEOUT)
        return 401, {}, {"error": "clef inconnue"}

    with stand_in(refusing) as server, ThreadPoolExecutor(8) as pool:
        scorer = remote(server.url)
        calls = [pool.submit(scorer.score, PAIRS[:1], timeout=TIMEOUT) for _ in range(8)]
        wait_until(lambda: waiting_in(scorer) == 8)
        gate.set()
        for call in calls:
            with pytest.raises(RemoteError, match="401: clef inconnue"):
                call.result(TIMEOUT)
        assert len(server.asked) == 1
        with pytest.raises(RemoteError, match="401: clef inconnue"):
            scorer.warm_up()
        assert len(server.asked) == 2, "an error is not kept"


async def test_one_who_leaves_takes_nothing_from_those_who_wait_with_him(remote):
    gate = threading.Event()

    def gated(asked):
        assert gate.wait(TIMEOUT)
        return as_tei(asked)

    with stand_in(gated) as server:
        scorer = remote(server.url)
        first = asyncio.create_task(scorer.ascore(PAIRS[:1]))
        await asyncio.to_thread(wait_until, lambda: waiting_in(scorer) == 1)
        second = asyncio.create_task(scorer.ascore(PAIRS[:1]))
        await asyncio.to_thread(wait_until, lambda: waiting_in(scorer) == 2)
        first.cancel()
        await asyncio.to_thread(wait_until, lambda: waiting_in(scorer) == 1)
        gate.set()
        assert await asyncio.wait_for(second, TIMEOUT) == LOGITS[:1]
        assert len(server.bodies("/info")) == 1


def test_a_server_that_nobody_waits_for_any_more_is_not_asked_on(remote):
    hung_up = threading.Event()

    def silent_first(asked):
        if hung_up.is_set():
            return as_tei(asked)
        asked.wait_until_hung_up()
        hung_up.set()
        return 200, {}, {}

    with stand_in(silent_first) as server:
        scorer = remote(server.url)
        with pytest.raises(DeadlineExceededError):
            scorer.score(PAIRS[:1], timeout=0.2)
        assert hung_up.wait(TIMEOUT)
        assert scorer.score(PAIRS[:1], timeout=TIMEOUT) == LOGITS[:1]


def waiting_in(scorer):
    """How many calls wait for the server to say what it is."""
    attempt = scorer._connection and scorer._connection._discovery._attempt
    return attempt.waiting if attempt else 0


def test_threads_and_event_loops_share_the_connections(remote):
    with stand_in(as_tei) as server:
        scorer = remote(server.url)
        for _ in range(3):
            assert asyncio.run(asyncio.wait_for(scorer.ascore(PAIRS[:3]), TIMEOUT)) == LOGITS[:3]
        assert scorer.score(PAIRS[:3], timeout=TIMEOUT) == LOGITS[:3]
        assert len(server.bodies("/info")) == 1
        # three questions at a time, each over a connection that stays open
        assert len({id(one._connection) for one in server.asked}) <= 4


def test_a_forked_process_opens_connections_of_its_own():
    program = f"""
import os, sys
from fr_reranker_plugin import RemoteScorer
scorer = RemoteScorer(sys.argv[1])
assert scorer.score([("q", "{TEXT}")], timeout={TIMEOUT}) == [{logit_of(TEXT)}]
child = os.fork()
assert scorer.score([("q", "{TEXT}")], timeout={TIMEOUT}) == [{logit_of(TEXT)}]
if child == 0:
    scorer.close()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
scorer.close()
"""
    with stand_in(as_tei) as server:
        command = [sys.executable, "-c", program, server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT * 2, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert len(server.bodies("/info")) == 2


def test_a_script_that_closes_nothing_ends_cleanly():
    program = f"""
import asyncio, sys
from fr_reranker_plugin import RemoteScorer
first, second = RemoteScorer(sys.argv[1]), RemoteScorer(sys.argv[1])
print(first.score([("q", "{TEXT}")]) == asyncio.run(second.ascore([("q", "{TEXT}")])))
"""
    with stand_in(as_tei) as server:
        command = [sys.executable, "-c", program, server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT * 2, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["True"], "")


def test_without_httpx_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingDependencyError, match=r"fr-reranker-plugin\[remote\]"):
        RemoteScorer("http://localhost:8080").score(PAIRS[:1])


def test_no_pairs_ask_nothing():
    scorer = RemoteScorer("http://nulle-part.example")
    assert scorer.score([]) == asyncio.run(scorer.ascore([])) == []
    assert not scorer.is_warm
    scorer.close()
