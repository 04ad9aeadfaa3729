"""How the LangChain classes load, share and let go of a model."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import pytest
from langchain_core.documents import Document

from checkpoints import SENTENCES
from engines import TIMEOUT, LengthEngine
from fr_reranker_plugin import BatchingScorer, ModelLoadError, live_scorers
from fr_reranker_plugin.langchain import FrenchCrossEncoder, FrenchCrossEncoderReranker

QUERY = "Où demander un acte de naissance ?"
DOCUMENTS = [Document(page_content=text, id=str(at)) for at, text in enumerate(SENTENCES)]


@pytest.fixture
def reranker(tiny_model, no_model_left):
    made = FrenchCrossEncoderReranker(model=tiny_model, top_n=None)
    yield made
    made.close()


def scores_of(documents):
    return [document.metadata["relevance_score"] for document in documents]


def test_making_one_loads_nothing_and_takes_no_time(loads):
    FrenchCrossEncoderReranker(model="no/such-model")
    start = perf_counter()
    for _ in range(100):
        FrenchCrossEncoderReranker(model="no/such-model")
    assert perf_counter() - start < 100 * 0.010
    assert loads == []


def test_a_cold_start_from_many_threads_loads_once_and_gives_each_the_same(reranker, loads):
    together = threading.Barrier(8, timeout=TIMEOUT)

    def rerank(_):
        together.wait()
        return scores_of(reranker.compress_documents(DOCUMENTS, QUERY))

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(rerank, range(8), timeout=TIMEOUT))
    assert len(loads) == 1
    assert all(result == pytest.approx(results[0], abs=1e-4) for result in results)


async def test_warm_up_loads_once_and_is_free_when_warm(reranker, loads):
    await reranker.awarm_up()
    assert live_scorers() == 1
    start = perf_counter()
    for _ in range(100):
        reranker.warm_up()
    assert perf_counter() - start < 100 * 0.001
    assert len(loads) == 1


def test_copies_and_pickles_of_a_warm_one_share_its_model(reranker, loads):
    expected = reranker.compress_documents(DOCUMENTS, QUERY)
    pickled = pickle.loads(pickle.dumps(reranker))  # noqa: S301
    duplicates = [copy.copy(reranker), copy.deepcopy(reranker), reranker.model_copy(), pickled]
    assert [duplicate.compress_documents(DOCUMENTS, QUERY) for duplicate in duplicates] == [expected] * 4
    assert (len(loads), live_scorers()) == (1, 1)
    for duplicate in duplicates:
        duplicate.close()
    assert reranker.compress_documents(DOCUMENTS, QUERY) == expected
    assert (len(loads), live_scorers()) == (1, 1)


@pytest.mark.parametrize("deep", [False, True])
def test_a_copy_with_another_model_uses_that_one(reranker, checkpoint_of, deep):
    reranker.warm_up()
    other = reranker.model_copy(update={"model_name": str(checkpoint_of("bert"))}, deep=deep)
    assert scores_of(other.compress_documents(DOCUMENTS, QUERY)) != scores_of(
        reranker.compress_documents(DOCUMENTS, QUERY)
    )
    assert live_scorers() == 2
    other.close()


def test_a_copy_with_another_top_n_is_a_cheap_variant(reranker, loads):
    first = reranker.model_copy(update={"top_n": 1})
    assert first.compress_documents(DOCUMENTS, QUERY) == reranker.compress_documents(DOCUMENTS, QUERY)[:1]
    assert len(loads) == 1
    first.close()


def test_setting_a_model_field_lets_go_of_the_model_and_setting_another_field_does_not(reranker, loads):
    reranker.warm_up()
    reranker.top_n, reranker.timeout, reranker.scale_score = 1, 60.0, False
    assert live_scorers() == 1
    reranker.max_length = 64
    assert live_scorers() == 0
    reranker.compress_documents(DOCUMENTS, QUERY)
    assert [settings.max_length for settings in loads] == [None, 64]


async def test_closing_frees_the_model_and_using_it_again_loads_it_again(reranker, loads):
    expected = reranker.compress_documents(DOCUMENTS, QUERY)
    handle = reranker._shared_model()  # held here too: the model must go by `close`, not by the garbage collector
    await reranker.aclose()
    reranker.close()
    assert not handle.is_warm
    assert live_scorers() == 0
    assert reranker.compress_documents(DOCUMENTS, QUERY) == expected
    assert len(loads) == 2


def test_the_cross_encoder_and_the_reranker_hold_one_model(reranker, tiny_model, loads):
    cross_encoder = FrenchCrossEncoder(model=tiny_model)
    ranked = reranker.compress_documents(DOCUMENTS, QUERY)
    scores = cross_encoder.score([(QUERY, document.page_content) for document in ranked])
    assert scores == pytest.approx(scores_of(ranked), abs=1e-4)
    assert (len(loads), live_scorers()) == (1, 1)
    cross_encoder.close()
    assert live_scorers() == 1


def test_a_failed_load_is_clear_is_not_kept_and_can_be_tried_again(reranker, tiny_model, loads):
    broken = FrenchCrossEncoderReranker(model="./no-such-folder")
    for attempt in (1, 2):
        with pytest.raises(ModelLoadError, match=r"there is no folder './no-such-folder'"):
            broken.compress_documents(DOCUMENTS, QUERY)
        assert (len(loads), live_scorers()) == (attempt, 0)
    broken.model_name = tiny_model
    assert len(broken.compress_documents(DOCUMENTS, QUERY)) == 3
    broken.close()


def test_different_lengths_at_once_give_what_each_gives_alone(tiny_model, no_model_left):
    rerankers = [FrenchCrossEncoderReranker(model=tiny_model, max_length=n, top_n=None) for n in (16, 32, 48, 128)]
    alone = [scores_of(reranker.compress_documents(DOCUMENTS, QUERY)) for reranker in rerankers]
    together = threading.Barrier(len(rerankers), timeout=TIMEOUT)

    def repeat(reranker):
        together.wait()
        return [scores_of(reranker.compress_documents(DOCUMENTS, QUERY)) for _ in range(20)]

    with ThreadPoolExecutor(len(rerankers)) as pool:
        for expected, results in zip(alone, pool.map(repeat, rerankers, timeout=TIMEOUT), strict=True):
            assert all(result == pytest.approx(expected, abs=1e-4) for result in results)
    for reranker in rerankers:
        reranker.close()


async def test_an_injected_scorer_is_used_shared_by_copies_and_left_to_its_owner(loads):
    with BatchingScorer(LengthEngine()) as scorer:
        reranker = FrenchCrossEncoderReranker(scorer=scorer, scale_score=False)
        reranker.warm_up()
        await reranker.awarm_up()
        duplicate = copy.deepcopy(reranker)
        duplicate.close()
        assert scores_of(duplicate.compress_documents(DOCUMENTS[:1], QUERY)) == [float(len(SENTENCES[0]))]
        assert scorer.score([(QUERY, "aa")]) == [2.0]
    assert loads == []
