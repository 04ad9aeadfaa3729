import gc
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from adapters.haystack_documents import QUESTION, TIMEOUT, ask, french_documents, scores_by_id, search_pipeline
from checkpoints import build_cross_encoder
from fr_reranker_plugin import (
    CrossEncoder,
    DeadlineExceededError,
    ModelLoadError,
    ModelSettings,
    ScoringError,
    SettingsError,
    live_scorers,
)
from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that are loaded during the test, one entry per load."""
    loaded: list[str] = []
    load = CrossEncoder.load

    def counted(settings: ModelSettings) -> CrossEncoder:
        loaded.append(settings.model)
        return load(settings)

    monkeypatch.setattr(CrossEncoder, "load", counted)
    return loaded


@pytest.fixture
def broken_model(tmp_path: Path) -> Iterator[str]:
    """A real checkpoint whose head gives not-a-number for every pair."""
    from transformers import AutoModelForSequenceClassification

    folder = build_cross_encoder(tmp_path / "broken")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    torch.nn.init.constant_(model.classifier.out_proj.bias, float("nan"))
    model.save_pretrained(folder)
    return str(folder)


def test_construction_reads_nothing_and_is_quick() -> None:
    times = []
    for _ in range(20):
        start = time.perf_counter()
        FrenchCrossEncoderRanker(model="/no/such/folder")
        times.append(time.perf_counter() - start)
    assert min(times) < 0.01
    assert not torch.cuda.is_initialized()


def test_warming_up_a_warm_ranker_costs_next_to_nothing(tiny_model: str, loads: list[str]) -> None:
    ranker = FrenchCrossEncoderRanker(model=tiny_model, max_length=41)
    ranker.warm_up()
    times = []
    for _ in range(20):
        start = time.perf_counter()
        ranker.warm_up()
        times.append(time.perf_counter() - start)
    assert min(times) < 0.001
    assert len(loads) == 1
    ranker.close()


def test_eight_threads_and_two_cold_pipelines_load_one_model(
    tiny_model: str, loads: list[str], no_model_left: None
) -> None:
    before = live_scorers()
    rankers = [FrenchCrossEncoderRanker(model=tiny_model, max_length=42) for _ in range(2)]
    pipelines = [search_pipeline(ranker) for ranker in rankers]
    together = threading.Barrier(8)

    def answer(number: int) -> dict[str, float]:
        together.wait(TIMEOUT)
        return scores_by_id(ask(pipelines[number % 2]))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(answer, range(8), timeout=TIMEOUT))
    assert len(loads) == 1
    assert live_scorers() == before + 1
    assert all(one == pytest.approx(answers[0], abs=1e-5) for one in answers)
    for ranker in rankers:
        ranker.close()


def test_closing_the_last_ranker_frees_the_model_and_a_run_loads_it_again(
    tiny_model: str, loads: list[str], no_model_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[weakref.ref[CrossEncoder]] = []
    counted = CrossEncoder.load

    def remembered(settings: ModelSettings) -> CrossEncoder:
        engine = counted(settings)
        engines.append(weakref.ref(engine))
        return engine

    monkeypatch.setattr(CrossEncoder, "load", remembered)
    ranker = FrenchCrossEncoderRanker(model=tiny_model, max_length=43)
    first = ranker.run(QUESTION, french_documents())
    handle = ranker._scorer
    ranker.close()
    assert not handle.is_warm
    gc.collect()
    assert engines[0]() is None
    assert ranker.run(QUESTION, french_documents()) == first
    assert len(loads) == 2
    ranker.close()
    ranker.close()


def test_closing_one_of_two_rankers_leaves_the_other_working(tiny_model: str, loads: list[str]) -> None:
    one, other = (FrenchCrossEncoderRanker(model=tiny_model, max_length=44) for _ in range(2))
    first = one.run(QUESTION, french_documents())
    assert other.run(QUESTION, french_documents()) == first
    one.close()
    assert other.run(QUESTION, french_documents()) == first
    assert len(loads) == 1
    other.close()


async def test_a_ranker_warms_up_and_closes_without_blocking(tiny_model: str, no_model_left: None) -> None:
    before = live_scorers()
    ranker = FrenchCrossEncoderRanker(model=tiny_model, max_length=45)
    await ranker.warm_up_async()
    await ranker.warm_up_async()
    assert live_scorers() == before + 1
    await ranker.close_async()


def test_closing_the_pipeline_closes_the_ranker(tiny_model: str, no_model_left: None) -> None:
    pipeline = search_pipeline(FrenchCrossEncoderRanker(model=tiny_model, max_length=46))
    ask(pipeline)
    pipeline.close()


def test_a_failed_load_says_why_and_can_be_tried_again(
    tmp_path: Path, checkpoint_of: Callable[[str], Path], no_model_left: None
) -> None:
    folder = tmp_path / "arriving"
    ranker = FrenchCrossEncoderRanker(model=folder)
    for _ in range(2):
        with pytest.raises(ModelLoadError, match="arriving"):
            ranker.warm_up()
    shutil.copytree(checkpoint_of("bert"), folder)
    assert len(ranker.run(QUESTION, french_documents())["documents"]) == 6
    ranker.close()


def test_an_unknown_revision_says_what_to_do_when_the_hub_may_not_be_asked(tmp_path: Path) -> None:
    ranker = FrenchCrossEncoderRanker(revision="not-there", local_files_only=True, cache_folder=str(tmp_path))
    with pytest.raises(ModelLoadError, match=r"not-there.*forbids asking the Hub"):
        ranker.run(QUESTION, french_documents())


def test_a_model_in_a_hub_cache_of_its_own_is_used_without_asking_the_hub(
    tmp_path: Path, checkpoint_of: Callable[[str], Path]
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--ranker"
    shutil.copytree(checkpoint_of("bert"), repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    ranker = FrenchCrossEncoderRanker(model="someone/ranker", cache_folder=str(tmp_path))
    assert len(ranker.run(QUESTION, french_documents())["documents"]) == 6
    ranker.close()


def test_a_logit_that_is_not_a_number_is_an_error_and_never_sorted(broken_model: str) -> None:
    ranker = FrenchCrossEncoderRanker(model=broken_model)
    with pytest.raises(ScoringError, match="nan"):
        ranker.run(QUESTION, french_documents())
    ranker.close()


async def test_a_failure_gives_the_documents_unranked_where_that_is_wanted(
    broken_model: str, caplog: pytest.LogCaptureFixture
) -> None:
    ranker = FrenchCrossEncoderRanker(model=broken_model, raise_on_failure=False, top_k=2)
    documents = [*french_documents(), *french_documents()]
    assert ranker.run(QUESTION, documents)["documents"] == french_documents()
    assert (await ranker.run_async(QUESTION, documents))["documents"] == french_documents()
    assert "returned unranked" in caplog.text
    with pytest.raises(SettingsError, match="top_k"):
        ranker.run(QUESTION, documents, top_k=0)
    ranker.close()


def test_wrong_settings_raise_even_where_failures_do_not(tiny_model: str) -> None:
    ranker = FrenchCrossEncoderRanker(model=tiny_model, max_length=100_000, raise_on_failure=False)
    with pytest.raises(SettingsError, match="max_length"):
        ranker.run(QUESTION, french_documents())


async def test_a_call_that_takes_too_long_raises(tiny_model: str) -> None:
    ranker = FrenchCrossEncoderRanker(model=tiny_model, timeout=1e-6)
    ranker.warm_up()
    with pytest.raises(DeadlineExceededError):
        ranker.run(QUESTION, french_documents())
    with pytest.raises(DeadlineExceededError):
        await ranker.run_async(QUESTION, french_documents())
    ranker.close()
