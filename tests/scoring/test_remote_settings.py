"""What of a remote scorer needs no server: addresses, cutting calls into requests, scores back to logits."""

import json
import math
import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin import OverloadedError, RemoteError, RemoteScorer, RemoteSettings, SettingsError
from fr_reranker_plugin.scoring.ranking import sigmoid
from fr_reranker_plugin.scoring.remote.answers import Answer
from fr_reranker_plugin.scoring.remote.dialects import DIALECTS, server_info
from fr_reranker_plugin.scoring.remote.log_odds import log_odds, logits_of_scores
from fr_reranker_plugin.scoring.remote.requests import encoded, gathered, parts
from fr_reranker_plugin.scoring.remote.retries import Retries
from fr_reranker_plugin.scoring.remote.transport import Terms
from fr_reranker_plugin.scoring.scorer import Logits
from fr_reranker_plugin.scoring.texts import encodable

URL = "http://localhost:8080"
SECRET = "clef-très-secrète"


@pytest.mark.parametrize(
    ("url", "base", "dialect"),
    [
        (URL, URL, "auto"),
        (f"{URL}/", URL, "auto"),
        (f"{URL}/prefixe/", f"{URL}/prefixe", "auto"),
        (f"{URL}/score", URL, "native"),
        (f"{URL}/rerank", URL, "tei"),
        (f"{URL}/v1/rerank", URL, "jina"),
        (f"{URL}/prefixe/v2/rerank/", f"{URL}/prefixe", "cohere"),
        ("https://api.jina.ai", "https://api.jina.ai", "jina"),
        ("https://api.cohere.com/v2/rerank", "https://api.cohere.com", "cohere"),
        ("https://api.cohere.com.example.org", "https://api.cohere.com.example.org", "auto"),
        ("http://[::1]:8080", "http://[::1]:8080", "auto"),
    ],
)
def test_an_address_names_the_dialect_where_its_path_or_host_does(url, base, dialect):
    settings = RemoteSettings(url=url)
    assert (settings.base_url, settings.known_dialect()) == (base, dialect)


def test_a_dialect_that_is_asked_for_is_spoken():
    assert RemoteSettings(url="https://api.jina.ai", dialect="tei").known_dialect() == "tei"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"url": "localhost:8080"}, "an address like 'http://localhost:8080', got 'localhost:8080'"),
        ({"url": "ftp://localhost"}, "an address like"),
        ({"url": "http://"}, "an address like"),
        ({"url": "http://localhost:0"}, "an address like"),
        ({"url": "http://localhost:port"}, "an address like"),
        ({"url": "http://local host"}, "an address like"),
        ({"url": "http://localhost\n"}, "an address like"),
        ({"url": None}, "an address like .* got NoneType"),
        ({"url": f"{URL}?key=x"}, "nothing behind its path"),
        ({"url": f"{URL}/score", "dialect": "tei"}, "ends with /score, the path of 'native'"),
        ({"url": URL, "dialect": "openai"}, "remote_dialect must be one of 'auto', 'native'"),
        ({"url": URL, "max_retries": -1}, "max_retries"),
        ({"url": URL, "model": 3}, "model must be a string"),
        ({"url": URL, "api_key": ""}, "remote_api_key"),
    ],
)
def test_what_cannot_be_asked_is_refused(given, message):
    with pytest.raises(SettingsError, match=message):
        RemoteSettings(**given)


@pytest.mark.parametrize("given", [{"url": f"http://moi:{SECRET}@localhost"}, {"url": URL, "api_key": f"{SECRET}\n"}])
def test_a_refused_secret_is_not_shown(given):
    with pytest.raises(SettingsError, match="remote_") as caught:
        RemoteSettings(**given)
    assert SECRET not in str(caught.value)


def test_the_key_is_in_no_repr_and_in_no_pickle():
    scorer = RemoteScorer(RemoteSettings(url=URL, api_key=SECRET))
    assert SECRET not in repr(scorer.settings)
    assert SECRET.encode() not in pickle.dumps(scorer)
    assert pickle.loads(pickle.dumps(scorer)).settings == scorer.settings  # noqa: S301 -- our own bytes


scores = st.floats(0.0, 1.0, allow_subnormal=True)


@given(st.lists(scores))
def test_logits_of_scores_have_exactly_their_order(given):
    logits = logits_of_scores(given)
    for one, its_logit in zip(given, logits, strict=True):
        assert math.isfinite(its_logit)
        for other, other_logit in zip(given, logits, strict=True):
            assert (one < other) == (its_logit < other_logit)


@pytest.mark.parametrize("start", [0.0, 1e-300, 1e-5, 0.25, 0.5, 0.75])
def test_scores_that_are_neighbours_stay_apart(start):
    given = [start]
    for _ in range(200):
        given.append(math.nextafter(given[-1], 2.0))
    logits = logits_of_scores(given)
    assert logits == sorted(set(logits))
    assert len(logits) == 201


@given(scores)
def test_the_sigmoid_of_the_logit_of_a_score_is_the_score(score):
    assert sigmoid(log_odds(score)) == pytest.approx(score, rel=1e-12, abs=1e-300)


@given(st.floats(-30, 20))
def test_the_logit_of_the_sigmoid_of_a_logit_is_the_logit(logit):
    assert log_odds(sigmoid(logit)) == pytest.approx(logit, abs=1e-6)


pairs_of_call = st.lists(st.tuples(st.sampled_from(["q1", "q2", "é" * 400_000]), st.text(max_size=5)), min_size=1)


@given(pairs_of_call, st.sampled_from(sorted(DIALECTS)), st.integers(1, 7))
def test_every_pair_is_asked_for_once_within_the_limits(pairs, name, most):
    dialect = DIALECTS[name]
    cut = list(parts(pairs, dialect, most))
    assert sorted(place for part in cut for place in part.places) == list(range(len(pairs)))
    for part in cut:
        assert [pairs[place] for place in part.places] == part.pairs
        assert 1 <= len(part.pairs) <= most
        assert dialect.mixes_queries or len({query for query, _ in part.pairs}) == 1
        size = sum(len(query.encode()) + len(text.encode()) for query, text in part.pairs)
        assert len(part.pairs) == 1 or size <= 1_500_000
    answers = [(part, Logits([float(place) for place in part.places], truncated=[0], tokens=2)) for part in cut]
    logits = gathered(len(pairs), answers)
    assert logits == [float(place) for place in range(len(pairs))]
    assert logits.truncated == tuple(sorted(part.places[0] for part in cut))
    assert logits.tokens == 2 * len(cut)


@pytest.mark.parametrize("text", ["caf\ud83d", "\ud83d\ude00", 'été \U0001f600 \udfff"\n', "tout entier"])
def test_a_server_is_sent_what_the_tokenizer_here_reads_of_half_characters(text):
    assert json.loads(encoded({"query": text, "texts": [text]})) == {
        "query": encodable(text),
        "texts": [encodable(text)],
    }


WRONG = [
    ("native", {"scores": [1.0]}, "expected scores, truncated and tokens"),
    ("native", {"scores": [1.0], "truncated": [], "tokens": 3}, "expected 2 scores, .* gave 1"),
    ("native", {"scores": [1.0, "2"], "truncated": [], "tokens": 3}, "expected a number"),
    ("native", {"scores": [1.0, 2.0], "truncated": [2], "tokens": 3}, "places of texts from 0 to 1"),
    ("tei", {"results": []}, "expected a list of index and score"),
    ("tei", [{"index": 0, "score": 1.0}], "expected 2 scores, .* gave 1"),
    ("tei", [{"index": 0, "score": 1.0}, {"index": 0, "score": 2.0}], "expected 2 scores, .* gave 1"),
    ("tei", [{"index": 0, "score": 1.0}, {"index": 2, "score": 2.0}], "from 0 to 1, the server gave 2"),
    ("tei", [{"index": 0, "score": None}, {"index": 1, "score": 2.0}], "expected a number .* None"),
    ("tei", [{"index": True, "score": 1.0}, {"index": 0, "score": 2.0}], "gave True"),
    ("jina", [{"index": 0, "relevance_score": 0.5}], "expected a list of index and relevance_score"),
    ("jina", {"results": [{"index": i, "relevance_score": 3.5} for i in range(2)]}, "from 0 to 1, got 3.5"),
    ("cohere", {"results": [{"index": i, "relevance_score": float("nan")} for i in range(2)]}, "got nan"),
    ("cohere", "tout va bien", "expected a list"),
]


@pytest.mark.parametrize(("dialect", "content", "message"), WRONG)
def test_an_answer_that_is_none_is_refused_with_what_was_expected(dialect, content, message):
    with pytest.raises(RemoteError, match=message):
        DIALECTS[dialect].read(content, 2)


@pytest.mark.parametrize("content", [[], "ok", {}, {"name": "vllm"}])
def test_an_info_of_another_kind_tells_nothing(content):
    assert server_info(content) is None


def answered(status, content=b"", **headers):
    return Answer(URL, status, headers, content, SECRET)


@pytest.mark.parametrize(
    ("headers", "content", "seconds"),
    [
        ({"retry-after": "7"}, b"", 7.0),
        ({"retry-after": "1"}, b'{"retry_after": 0.25}', 0.25),
        ({"retry-after": "bientot"}, b"<html>", None),
        ({"retry-after": "-3"}, b'{"retry_after": true}', None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"", 0.0),
        ({}, b'{"retry_after": NaN}', None),
    ],
)
def test_a_server_says_when_to_come_again_in_several_ways(headers, content, seconds):
    assert answered(429, content, **headers).retry_after() == seconds


def test_a_date_to_come_again_at_is_understood():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    assert answered(503, **{"retry-after": date}).retry_after() == pytest.approx(20, abs=5)


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (401, b'{"detail": "Bad API key"}', "answered 401: Bad API key; .* give remote_api_key"),
        (404, b'{"message": "model not found"}', "answered 404: model not found; is remote_url right"),
        (413, b'{"error": "too long", "error_type": "Validation"}', "answered 413: too long; .* shorten it"),
        (500, b"<html>\n  Panne </html>", "answered 500: <html> Panne </html>$"),
        (500, b"", "no reason given"),
        (302, b"", "set remote_url to the final address"),
        (400, f'{{"message": "bad key {SECRET}"}}'.encode(), r"bad key \*\*\*"),
    ],
)
def test_a_refusal_says_what_the_server_said_and_what_to_do(status, content, message):
    with pytest.raises(RemoteError, match=message) as caught:
        raise answered(status, content).refusal()
    assert caught.value.status == status
    assert SECRET not in str(caught.value)


def test_what_is_no_json_is_shown_by_its_beginning():
    with pytest.raises(RemoteError, match="expected JSON from .* text/html that begins with '<html>x"):
        answered(200, b"<html>" + b"x" * 1000, **{"content-type": "text/html"}).json()


def test_waits_grow_and_are_uneven():
    def waits():
        retries = Retries(URL, 5)
        return [retries.wait_after_failure("parti", None) for _ in range(5)]

    for wait, most in zip(waits(), [0.1, 0.2, 0.4, 0.8, 1.6], strict=True):
        assert most / 2 <= wait <= most
    assert waits() != waits()


def test_a_server_is_not_asked_before_it_wants_to_be():
    for _ in range(50):
        assert 2.0 <= Retries(URL, 1).wait_after(answered(429, b'{"retry_after": 2}'), None) <= 2.5


def test_answers_that_stand_are_not_asked_for_again():
    for status in (200, 400, 401, 404, 413, 422):
        assert Retries(URL, 5).wait_after(answered(status), None) is None


@pytest.mark.parametrize("status", [500, 504])
def test_a_failure_is_asked_for_again_unless_the_reranker_itself_tells_of_it(status):
    assert Retries(URL, 5).wait_after(answered(status, b"Internal Server Error"), None) is not None
    assert Retries(URL, 5).wait_after(answered(status, b'{"code": "internal"}'), None) is None


@pytest.mark.parametrize(
    ("left", "asked_for", "tries"), [(1.0, 5, 1), (None, 3600, 1), (None, 0, 3)], ids=["deadline", "long", "often"]
)
def test_a_busy_server_is_given_up_where_waiting_makes_no_sense(left, asked_for, tries):
    retries = Retries(URL, 2)
    busy = answered(429, b'{"message": "complet"}', **{"retry-after": str(asked_for)})
    for _ in range(tries - 1):
        assert retries.wait_after(busy, left) == 0
    with pytest.raises(OverloadedError, match="complet; try again in") as caught:
        retries.wait_after(busy, left)
    assert (caught.value.retry_after, caught.value.waiting) == (asked_for, None)


def test_a_server_that_is_not_ready_is_given_up_with_another_error():
    with pytest.raises(RemoteError, match="503 after one try: en cours.*still loading") as caught:
        Retries(URL, 0).wait_after(answered(503, b'{"error": "en cours"}'), None)
    assert caught.value.status == 503


@pytest.mark.parametrize(("one", "other", "shared"), [(1.0, 2.0, 2.0), (2.0, 1.0, 2.0), (1.0, None, None)])
def test_what_several_calls_wait_for_lasts_as_long_as_the_most_patient(one, other, shared):
    for first, second in ((one, other), (other, one)):
        terms = Terms("interactive", first)
        terms.last_as_long_as(Terms("bulk", second))
        assert terms == Terms("interactive", shared)
