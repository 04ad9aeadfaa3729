"""Both adapters with a server in place of a model: parameters, what is saved, and what stays secret."""

import asyncio
import copy
import json
import logging
import pickle

import pytest
from haystack import Pipeline
from haystack.utils import Secret
from langchain_core.documents import Document as LangChainDocument
from pydantic import SecretStr, ValidationError

from adapters.haystack_documents import QUESTION, TIMEOUT, FrenchCrossEncoderRanker, french_documents
from fr_reranker_plugin import ModelSettings, RemoteError, SettingsError, SharedScorer, live_scorers
from fr_reranker_plugin.langchain import FrenchCrossEncoder, FrenchCrossEncoderReranker
from fr_reranker_plugin.serving import ApiKeys, ServerSettings
from serving.conftest import running

KEY = "clef-très-secrète"
VARIABLE = "FR_RERANKER_API_KEY"
URL = "http://localhost:8080"
LANGCHAIN = [FrenchCrossEncoderReranker, FrenchCrossEncoder]


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture(scope="module")
def locked_server(tiny_model):
    """A server that asks for a key."""
    with running(SharedScorer(ModelSettings(model=tiny_model)), ServerSettings(keys=ApiKeys([KEY]))) as server:
        yield server


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"remote_url": "localhost:8080"}, "an address like"),
        ({"remote_url": URL, "remote_dialect": "openai"}, "remote_dialect|'native'"),
        ({"remote_url": URL, "max_length": 128}, "max_length=128 has no effect with remote_url"),
        ({"remote_url": URL, "long_documents": "max"}, "serve --long-documents max"),
    ],
)
@pytest.mark.parametrize("adapter", [FrenchCrossEncoderRanker, *LANGCHAIN])
def test_what_only_the_server_can_decide_is_refused(adapter, given, message):
    with pytest.raises(ValueError, match=message):
        adapter(**given)


def test_a_length_for_the_tokenizer_is_refused_too():
    with pytest.raises(SettingsError, match="max_length=64 has no effect"):
        FrenchCrossEncoderRanker(remote_url=URL, tokenizer_kwargs={"model_max_length": 64})


@pytest.mark.parametrize("adapter", LANGCHAIN)
def test_a_field_that_is_set_later_is_checked_with_the_others(adapter):
    made = adapter(remote_url=URL)
    for name, value in {"long_documents": "mean", "max_length": 128, "remote_dialect": "x"}.items():
        with pytest.raises(ValidationError):
            setattr(made, name, value)
    made.remote_url = None
    made.long_documents = "mean"
    with pytest.raises(ValidationError, match="--long-documents mean"):
        made.remote_url = URL


@pytest.mark.parametrize("adapter", LANGCHAIN)
def test_two_who_score_are_one_too_many(adapter):
    with pytest.raises(ValidationError, match="leave out one of the two"):
        adapter(remote_url=URL, scorer=SharedScorer(ModelSettings(model="embedded")))


def test_a_ranker_with_a_server_is_saved_and_comes_back():
    given = {
        "model": "embedded",
        "remote_url": URL,
        "remote_api_key": Secret.from_env_var("MY_KEY", strict=False),
        "remote_dialect": "native",
    }
    pipeline = Pipeline()
    pipeline.add_component("ranker", FrenchCrossEncoderRanker(**given))
    loaded = Pipeline.loads(pipeline.dumps())
    assert loaded == pipeline
    assert {name: getattr(loaded.get_component("ranker"), name) for name in given} == given


def test_a_key_that_would_be_saved_readably_is_not_saved_and_one_that_is_no_secret_refused():
    with pytest.raises(ValueError, match=r"[Tt]oken"):
        FrenchCrossEncoderRanker(remote_url=URL, remote_api_key=Secret.from_token(KEY)).to_dict()
    with pytest.raises(TypeError, match="remote_api_key must be a Secret") as caught:
        FrenchCrossEncoderRanker(remote_url=URL, remote_api_key=KEY)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("adapter", LANGCHAIN)
def test_langchains_classes_dump_all_but_the_key(adapter):
    made = adapter(model="embedded", remote_url=URL, remote_dialect="tei", remote_api_key=KEY)
    dumped = made.model_dump()
    assert KEY not in f"{made!r} {dumped} {made.model_dump_json()}"
    again = adapter(**json.loads(made.model_dump_json()))
    assert (again.remote_url, again.remote_dialect, again.remote_api_key) == (URL, "tei", None)
    assert made.remote_api_key == SecretStr(KEY)


def test_the_ranker_ranks_on_a_server_with_the_key_of_the_environment(locked_server, tiny_model, monkeypatch):
    monkeypatch.setenv(VARIABLE, KEY)
    before = live_scorers()
    ranker = FrenchCrossEncoderRanker(model=tiny_model, remote_url=locked_server.url)
    ranker.warm_up()
    copies = [ranker, copy.deepcopy(ranker), pickle.loads(pickle.dumps(ranker))]  # noqa: S301 -- our own bytes
    runs = [one.run(QUESTION, french_documents())["documents"] for one in copies]
    assert live_scorers() == before
    with_model = FrenchCrossEncoderRanker(model=tiny_model)
    expected = with_model.run(QUESTION, french_documents())["documents"]
    for documents in runs:
        assert [one.id for one in documents] == [one.id for one in expected]
        assert [one.score for one in documents] == pytest.approx([one.score for one in expected], abs=1e-5)
    for one in [*copies, with_model]:
        one.close()


def test_langchains_classes_score_on_a_server(locked_server, tiny_model):
    texts = [document.content for document in french_documents()]
    options = {"model": tiny_model, "remote_url": locked_server.url, "remote_api_key": KEY}
    encoder = FrenchCrossEncoder(**options)
    with_model = FrenchCrossEncoder(model=tiny_model)
    expected = with_model.score([(QUESTION, text) for text in texts])
    assert encoder.score([(QUESTION, text) for text in texts]) == pytest.approx(expected, abs=1e-5)
    assert asyncio.run(encoder.ascore([(QUESTION, texts[0])])) == pytest.approx(expected[:1], abs=1e-5)
    compressor = FrenchCrossEncoderReranker(**options, top_n=1)
    compressor.warm_up()
    copies = [compressor, copy.deepcopy(compressor), pickle.loads(pickle.dumps(compressor))]  # noqa: S301 -- our own
    for one in copies:
        [best] = asyncio.run(
            asyncio.wait_for(one.acompress_documents([LangChainDocument(text) for text in texts], QUESTION), TIMEOUT)
        )
        assert best.metadata["relevance_score"] == pytest.approx(max(expected), abs=1e-5)
    for one in (encoder, *copies, with_model):
        one.close()


def test_naming_another_server_lets_go_of_the_one_in_use(locked_server, tiny_server_of_langchain):
    encoder = FrenchCrossEncoder(remote_url=locked_server.url, remote_api_key=KEY)
    encoder.warm_up()
    encoder.remote_url = tiny_server_of_langchain.url
    encoder.remote_api_key = None
    assert encoder._handle is None
    assert len(encoder.score([("q", "un texte")])) == 1
    encoder.close()


@pytest.fixture
def tiny_server_of_langchain(tiny_model):
    with running(SharedScorer(ModelSettings(model=tiny_model))) as server:
        yield server


def test_documents_stay_unranked_where_that_is_wanted_and_no_key_is_in_the_log(locked_server, caplog):
    caplog.set_level(logging.DEBUG)
    wrong = "autre-clef-secrète"
    ranker = FrenchCrossEncoderRanker(
        remote_url=locked_server.url, remote_api_key=Secret.from_token(wrong), raise_on_failure=False
    )
    documents = french_documents()
    assert ranker.run(QUESTION, documents)["documents"] == documents
    compressor = FrenchCrossEncoderReranker(remote_url=locked_server.url, remote_api_key=wrong, raise_on_failure=False)
    given = [LangChainDocument("un texte")]
    assert compressor.compress_documents(given, QUESTION) == given
    with pytest.raises(RemoteError, match="remote_api_key"):
        ranker.warm_up()
    assert "remote_api_key" in caplog.text
    assert wrong not in caplog.text
    ranker.close()
    compressor.close()
