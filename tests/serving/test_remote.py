"""The remote scorer against our own server."""

import asyncio
import gc
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from engines import TIMEOUT, wait_until
from fr_reranker_plugin import (
    BatchSettings,
    DeadlineExceededError,
    ModelSettings,
    OverloadedError,
    RemoteError,
    RemoteScorer,
    RemoteSettings,
    SharedScorer,
)
from fr_reranker_plugin.scoring.remote.settings import PATHS
from fr_reranker_plugin.serving import ApiKeys, ServerSettings
from serving.conftest import running
from serving.test_shutdown import Process, wait_until_ready

KEY = "une-clef-de-test"
PAIRS = [(f"Question {number % 3} ?", f"Texte {number} de la mairie. " * (1 + number * 9)) for number in range(20)]


@pytest.fixture(scope="module")
def local(tiny_model: str):
    scorer = SharedScorer(ModelSettings(model=tiny_model))
    yield scorer.score(PAIRS)
    scorer.close()


@pytest.fixture(scope="module")
def server(tiny_model: str, local):
    """A server that asks for a key and takes five texts at a time."""
    settings = ServerSettings(keys=ApiKeys([KEY]), max_texts=5)
    with running(SharedScorer(ModelSettings(model=tiny_model)), settings) as server:
        yield server


@pytest.fixture
def remote():
    """Make scorers that are closed with the test."""
    made = []

    def scorer(url, **options):
        made.append(RemoteScorer(RemoteSettings(url=url, **options)))
        return made[-1]

    yield scorer
    for one in made:
        one.close()


@pytest.mark.parametrize("dialect", ["auto", *PATHS])
def test_every_dialect_gives_the_logits_of_the_process_itself(dialect, server, local, remote):
    scorer = remote(server.url, dialect=dialect, api_key=KEY)
    assert scorer.score(PAIRS, timeout=TIMEOUT) == pytest.approx(local, abs=1e-4)
    again = asyncio.run(asyncio.wait_for(scorer.ascore(PAIRS[:7], priority="bulk"), TIMEOUT))
    assert again == pytest.approx(local[:7], abs=1e-4)


def test_our_own_server_is_recognised_and_tells_what_it_cut(server, local, remote):
    logits = remote(server.url, api_key=KEY).score(PAIRS, timeout=TIMEOUT)
    assert logits.truncated == local.truncated != ()
    assert logits.tokens == local.tokens


def test_a_deadline_may_be_never(server, local, remote):
    logits = remote(server.url, api_key=KEY).score(PAIRS[:1], timeout=float("inf"))
    assert logits == pytest.approx(local[:1], abs=1e-4)


def test_one_text_that_is_too_large_for_the_server_is_sent_once_and_said_so(tiny_server, remote):
    with pytest.raises(RemoteError, match="413: the body has more than 4194304 bytes; .*shorten it") as caught:
        remote(tiny_server.url, max_retries=0).score([("q", "y" * (5 << 20))], timeout=TIMEOUT)
    assert caught.value.status == 413


@pytest.mark.parametrize("key", [None, "fausse"])
def test_a_missing_and_a_wrong_key_are_one_error_that_names_the_parameter(key, server, remote):
    with pytest.raises(RemoteError, match="answered 401: this server asks for a key.*give remote_api_key") as caught:
        remote(server.url, api_key=key).score(PAIRS[:1], timeout=TIMEOUT)
    assert caught.value.status == 401


def test_a_full_queue_is_waited_for(gated_server, remote):
    server = gated_server(batch=BatchSettings(max_waiting_pairs=1))
    scorer = remote(server.url)
    scorer.warm_up()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(scorer.score, [("q", "a")])
        assert server.engine.started.wait(TIMEOUT)
        second = pool.submit(scorer.score, [("q", "bb")])
        wait_until(lambda: server.door.scorer.snapshot().waiting_pairs == 1)
        with pytest.raises(OverloadedError, match="answered 429 after one try: 1 .* waiting; try again in [0-9.]+ s$"):
            remote(server.url, max_retries=0).score([("q", "cccc")])
        third = pool.submit(remote(server.url, max_retries=100).score, [("q", "ccc")])
        wait_until(lambda: server.door.scorer.snapshot().refused >= 2)
        server.engine.gate.set()
        assert [one.result(TIMEOUT) for one in (first, second, third)] == [[1.0], [2.0], [3.0]]


def test_a_call_takes_a_quarter_of_the_queue_at_most(gated_server, remote):
    server = gated_server()
    scorer = remote(server.url)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(scorer.score, [("q", "a" * number) for number in range(1, 1501)])
        assert server.engine.started.wait(TIMEOUT)
        batch = len(server.engine.batches[0])
        wait_until(lambda: server.door.scorer.snapshot().waiting_pairs + batch == 8 * 128)
        server.engine.gate.set()
        assert call.result(TIMEOUT) == list(range(1, 1501))


def test_a_call_that_fills_the_queue_by_itself_is_answered_all_the_same(gated_server, remote):
    server = gated_server(batch=BatchSettings(max_waiting_pairs=300))
    scorer = remote(server.url, max_retries=0)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(scorer.score, [("q", "a" * number) for number in range(1, 1501)])
        wait_until(lambda: server.door.scorer.snapshot().refused >= 5)
        server.engine.gate.set()
        assert call.result(TIMEOUT) == list(range(1, 1501))


def test_a_deadline_reaches_the_server_which_drops_what_waits(gated_server, remote):
    server = gated_server()
    scorer = remote(server.url)
    scorer.warm_up()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(scorer.score, [("q", "a")])
        assert server.engine.started.wait(TIMEOUT)
        with pytest.raises(DeadlineExceededError):
            scorer.score([("q", "b")] * 3 + [("q", "cc")], timeout=0.3)
        wait_until(lambda: server.door.scorer.snapshot().waiting_pairs == 0)
        server.engine.gate.set()
        assert first.result(TIMEOUT) == [1.0]
    assert server.engine.batches == [["a"]]


async def test_a_cancelled_call_leaves_the_servers_queue(gated_server, remote):
    server = gated_server()
    scorer = remote(server.url)
    first = asyncio.create_task(scorer.ascore([("q", "a")]))
    assert await asyncio.to_thread(server.engine.started.wait, TIMEOUT)
    second = asyncio.create_task(scorer.ascore([("q", "bb")]))
    await asyncio.to_thread(wait_until, lambda: server.door.scorer.snapshot().waiting_pairs == 1)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    await asyncio.to_thread(wait_until, lambda: server.door.scorer.snapshot().waiting_pairs == 0)
    server.engine.gate.set()
    assert await asyncio.wait_for(first, TIMEOUT) == [1.0]
    assert server.engine.batches == [["a"]]


def test_bulk_is_told_to_the_server(gated_server, remote):
    server = gated_server()
    scorer = remote(server.url)
    scorer.warm_up()
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(scorer.score, [("q", "a")])]
        assert server.engine.started.wait(TIMEOUT)
        calls.append(pool.submit(scorer.score, [("q", "bb")], priority="bulk"))
        wait_until(lambda: server.door.scorer.snapshot().waiting["bulk"].pairs == 1)
        server.engine.gate.set()
        assert [call.result(TIMEOUT) for call in calls] == [[1.0], [2.0]]


def test_a_scorer_that_is_dropped_closes_its_connections(tiny_server):
    scorer = RemoteScorer(tiny_server.url)
    scorer.score(PAIRS[:1], timeout=TIMEOUT)
    client = scorer._connection._transport._client
    del scorer
    gc.collect()
    wait_until(lambda: client.is_closed)


@pytest.mark.slow
def test_a_server_killed_under_load_is_a_clear_error(tiny_model, remote):
    process = Process("--model", tiny_model)
    try:
        url = process.url()
        wait_until_ready(url)
        answered = threading.Semaphore(0)

        def client(number):
            scorer = remote(url, max_retries=2)
            try:
                while True:
                    [logit] = scorer.score([(f"question {number}", "texte")], timeout=TIMEOUT)
                    answered.release()
            except RemoteError as error:
                return logit, str(error)

        with ThreadPoolExecutor(4) as pool:
            clients = [pool.submit(client, number) for number in range(4)]
            for _ in range(12):
                assert answered.acquire(timeout=TIMEOUT)
            process.process.kill()
            ends = [one.result(TIMEOUT) for one in clients]
    finally:
        process.end()
    for _, message in ends:
        assert re.search(rf"no answer from {url}/score after 3 tries: .*Start it with `fr-reranker serve`", message)
