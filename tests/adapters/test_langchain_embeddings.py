"""LangChain's embeddings: its own suites, the prefixes of each role, one model for all who embed with it."""

import asyncio
import copy
import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from pydantic import SecretStr, ValidationError

from checkpoints import SENTENCES
from encoders import E5_PROMPTS, build_bi_encoder
from engines import TIMEOUT
from fr_reranker_plugin import EncoderIdentity, ModelLoadError, SettingsError, live_encoders
from fr_reranker_plugin.langchain import FrenchEmbeddings
from fr_reranker_plugin.retrieval.text_encoder import TextEncoder
from heartbeat import assert_loop_stays_free

QUERY = "Où demander un acte de naissance ?"
SECRET = "hf_do_not_show_this"
AMONG_BATCHES = 1e-5


class Embedded:
    """Tells the suites what to test."""

    @property
    def embeddings_class(self):
        return FrenchEmbeddings

    @property
    def embedding_model_params(self):
        return {"model": "embedded"}


class TestUnit(Embedded, EmbeddingsUnitTests):
    @property
    def init_from_env_params(self):
        return {"HF_TOKEN": SECRET}, {"model": "embedded"}, {"token": SECRET, "model_name": "embedded"}


class TestIntegration(Embedded, EmbeddingsIntegrationTests):
    pass


@pytest.fixture(scope="module")
def tiny_encoder(tmp_path_factory):
    """A tiny E5-like bi-encoder, as a model name."""
    return str(build_bi_encoder(tmp_path_factory.mktemp("e5"), pooling={"pooling_mode_mean_tokens": True},
                                prompts=E5_PROMPTS))  # fmt: skip


@pytest.fixture
def embeddings(tiny_encoder):
    before = live_encoders()
    made = FrenchEmbeddings(model=tiny_encoder)
    yield made
    made.close()
    assert live_encoders() == before


@pytest.fixture(scope="module")
def as_they_stand(tiny_encoder):
    """Encodes texts without any prefix."""
    return TextEncoder.load(FrenchEmbeddings(model=tiny_encoder)._model_settings()).encode


async def test_each_role_has_the_prefix_of_the_model(embeddings, as_they_stand):
    question = as_they_stand(["query: " + QUERY])[0]
    passages = as_they_stand(["passage: " + text for text in SENTENCES])
    for found in (embeddings.embed_query(QUERY), await embeddings.aembed_query(QUERY)):
        np.testing.assert_allclose(found, question, atol=AMONG_BATCHES)
    for found in (embeddings.embed_documents(SENTENCES), await embeddings.aembed_documents(SENTENCES)):
        np.testing.assert_allclose(found, passages, atol=AMONG_BATCHES)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_prefixes_can_be_chosen_and_belong_to_the_identity(embeddings, as_they_stand):
    without = embeddings.model_copy(update={"query_prefix": "", "passage_prefix": "p: "})
    np.testing.assert_allclose(without.embed_query(QUERY), as_they_stand([QUERY])[0], atol=AMONG_BATCHES)
    np.testing.assert_allclose(without.embed_documents([QUERY]), as_they_stand(["p: " + QUERY]), atol=AMONG_BATCHES)
    assert without.identity != embeddings.identity
    assert (without.identity.query_prefix, embeddings.identity.query_prefix) == ("", "query: ")
    without.close()


def test_changing_a_prefix_changes_the_vectors_at_once(embeddings):
    before = embeddings.embed_query(QUERY)
    embeddings.query_prefix = "autre : "
    assert embeddings.embed_query(QUERY) != before
    embeddings.query_prefix = None
    assert embeddings.embed_query(QUERY) == pytest.approx(before, abs=AMONG_BATCHES)


def test_the_identity_names_the_model_its_length_and_its_dimension(tiny_encoder, embeddings):
    found = embeddings.identity
    assert isinstance(found, EncoderIdentity)
    assert (found.model, found.dimension) == (tiny_encoder, len(embeddings.embed_query("a")))


def test_no_texts_have_no_vectors(embeddings):
    assert embeddings.embed_documents([]) == []


@pytest.mark.parametrize("wrong", ["un seul texte", ["bon", None], [3]])
def test_what_is_not_a_list_of_texts_is_refused(embeddings, wrong):
    with pytest.raises(SettingsError, match="text"):
        embeddings.embed_documents(wrong)
    with pytest.raises(SettingsError, match="text"):
        embeddings.embed_query(None)


def test_making_one_loads_nothing_and_a_model_that_is_not_there_is_told_at_the_first_use():
    made = FrenchEmbeddings(model="./no-such-folder")
    with pytest.raises(ModelLoadError, match=r"\./no-such-folder"):
        made.embed_query("a")


def test_copies_and_pickles_share_the_model_and_make_the_same_vectors(embeddings):
    expected = embeddings.embed_query(QUERY)
    count = live_encoders()
    pickled = pickle.loads(pickle.dumps(embeddings))  # noqa: S301
    for duplicate in (copy.copy(embeddings), copy.deepcopy(embeddings), embeddings.model_copy(), pickled):
        assert duplicate.model_dump() == embeddings.model_dump()
        assert duplicate.embed_query(QUERY) == pytest.approx(expected, abs=AMONG_BATCHES)
        assert live_encoders() == count
        duplicate.close()


def test_what_is_dumped_makes_the_same_embeddings_again_and_holds_no_token():
    first = FrenchEmbeddings(model="mine", query_prefix="q: ", passage_prefix="", max_length=64, token=SECRET)
    assert first.token == SecretStr(SECRET)
    dumped = json.loads(json.dumps(first.model_dump(mode="json")))
    assert SECRET not in json.dumps(dumped) + repr(first)
    assert FrenchEmbeddings.model_validate({**dumped, "token": SECRET}) == first


@pytest.mark.parametrize("field", [{"max_length": 3}, {"scorer": None}, {"encode_kwargs": {}}, {"query_prefix": 1}])
def test_a_field_that_does_not_exist_or_has_a_value_that_is_not_allowed_is_refused(field):
    with pytest.raises(ValidationError, match=next(iter(field))):
        FrenchEmbeddings(**field)


def test_many_threads_start_cold_on_one_load(embeddings):
    before = live_encoders()
    together = threading.Barrier(8, timeout=TIMEOUT)

    def embed(_):
        together.wait()
        return embeddings.embed_query(QUERY)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(embed, range(8), timeout=TIMEOUT))
    assert live_encoders() == before + 1
    assert all(result == pytest.approx(results[0], abs=AMONG_BATCHES) for result in results)


async def test_a_hundred_questions_at_once_do_not_hold_up_the_event_loop(embeddings):
    await embeddings.awarm_up()
    queries = [f"{number} {QUERY}" for number in range(100)]
    alone = embeddings.embed_query(queries[7])
    found = await assert_loop_stays_free(lambda: asyncio.gather(*map(embeddings.aembed_query, queries)))
    assert found[7] == pytest.approx(alone, abs=AMONG_BATCHES)


async def test_others_get_their_turn_while_a_large_batch_is_made_into_lists(monkeypatch):
    vectors = np.random.default_rng(0).random((5000, 4), dtype=np.float32)
    turns = 0

    class ReadyEncoder:
        async def aencode_passages(self, texts):
            return vectors[: len(texts)]

    async def take_turns():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(FrenchEmbeddings, "_encoder", ReadyEncoder())
    other = asyncio.create_task(take_turns())
    found = await FrenchEmbeddings().aembed_documents(["a"] * len(vectors))
    other.cancel()
    assert found == vectors.tolist()
    assert turns >= 9
