"""One bi-encoder per process answers all its callers, questions first, whatever fails."""

import asyncio
import copy
import multiprocessing
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from checkpoints import SENTENCES
from encoders import E5_PROMPTS, build_bi_encoder
from engines import TIMEOUT, wait_until
from fr_reranker_plugin import (
    BatchSettings,
    DeadlineExceededError,
    ModelLoadError,
    ModelSettings,
    OverloadedError,
    ScorerClosedError,
    ScoringError,
    SettingsError,
    live_scorers,
)
from fr_reranker_plugin.retrieval.batching_encoder import BatchingEncoder
from fr_reranker_plugin.retrieval.encoder_engine import EncoderEngine
from fr_reranker_plugin.retrieval.shared_encoder import SharedEncoder, live_encoders
from fr_reranker_plugin.retrieval.text_encoder import TextEncoder

CLOSE = 1e-5


class GatedEncoder:
    """A real engine that waits in every batch until the gate is open, and keeps the texts of each."""

    def __init__(self, engine: EncoderEngine) -> None:
        self.identity, self.pads, self.depth = engine.identity, engine.pads, 1
        self.gate, self.started = threading.Event(), threading.Event()
        self.batches: list[list[str]] = []
        self.fails_on = ""
        self._engine = engine
        self._texts: dict[tuple[int, ...], str] = {}

    def encode(self, texts):
        encoded = self._engine.encode(texts)
        self._texts |= {tuple(one.token_ids): text for one, text in zip(encoded, texts, strict=True)}
        return encoded

    def launch(self, batch):
        self.batches.append([self._texts[tuple(one.token_ids)] for one in batch])
        self.started.set()
        assert self.gate.wait(TIMEOUT)
        if self.fails_on in self.batches[-1]:
            raise RuntimeError("cannot read this")
        return self._engine.launch(batch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bi_encoder(tmp_path_factory.mktemp("shared"), prompts=E5_PROMPTS)


@pytest.fixture(scope="module")
def settings(folder: Path) -> ModelSettings:
    return ModelSettings(model=str(folder), device="cpu")


@pytest.fixture(scope="module")
def alone(settings: ModelSettings) -> TextEncoder:
    return TextEncoder.load(settings)


@pytest.fixture(scope="module")
def engine(settings: ModelSettings) -> EncoderEngine:
    return EncoderEngine.load(settings)


@pytest.fixture
def gated(engine: EncoderEngine) -> Iterator[GatedEncoder]:
    gated = GatedEncoder(engine)
    yield gated
    gated.gate.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as executor:
        yield executor


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[ModelSettings]:
    loaded: list[ModelSettings] = []
    load = EncoderEngine.load

    def counted(settings: ModelSettings) -> EncoderEngine:
        loaded.append(settings)
        return load(settings)

    monkeypatch.setattr(EncoderEngine, "load", counted)
    return loaded


@pytest.fixture(autouse=True)
def no_encoder_left() -> Iterator[None]:
    yield
    assert live_encoders() == 0


def test_many_handles_and_threads_share_one_load_and_get_their_own_vectors(settings, alone, loads):
    handles = [SharedEncoder(settings) for _ in range(20)]
    barrier = threading.Barrier(8)

    def use(thread: int) -> list[np.ndarray]:
        barrier.wait(TIMEOUT)
        return [handle.encode_passages([SENTENCES[thread % 6], "court"]) for handle in handles[thread::8]]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(use, range(8), timeout=TIMEOUT * 3))
    assert (len(loads), live_encoders(), live_scorers()) == (1, 1, 0)
    for thread, found in enumerate(answers):
        expected = alone.encode_passages([SENTENCES[thread % 6], "court"])
        assert all(np.abs(vectors - expected).max() <= CLOSE for vectors in found)
    for handle in handles:
        handle.close()


def test_each_role_has_its_prefix_and_sync_and_async_agree(settings, alone):
    async def ask() -> list[np.ndarray]:
        calls = (handle.aencode_queries, handle.aencode_passages, handle.aencode)
        return await asyncio.gather(*(call(SENTENCES) for call in calls))

    handle = SharedEncoder(settings)
    found = asyncio.run(ask())
    for name, vectors in zip(("encode_queries", "encode_passages", "encode"), found, strict=True):
        assert np.abs(vectors - getattr(alone, name)(SENTENCES)).max() <= CLOSE
        assert np.abs(vectors - getattr(handle, name)(SENTENCES)).max() <= CLOSE
    assert (handle.identity, handle.dimension, handle.max_length) == (alone.identity, 32, 512)
    handle.close()


def test_handles_with_other_prefixes_share_the_model(settings, loads):
    plain = SharedEncoder(settings, query_prefix="", passage_prefix="texte : ")
    usual = SharedEncoder(settings)
    assert np.abs(plain.encode_queries(["query: Où ?"]) - usual.encode_queries(["Où ?"])).max() <= CLOSE
    assert (plain.prefixes, usual.prefixes) == (("", "texte : "), ("query: ", "passage: "))
    assert len(loads) == 1
    plain.close()
    usual.close()


def test_copies_and_pickles_start_cold_keep_their_prefixes_and_join_the_same_model(settings, loads):
    handle = SharedEncoder(settings, query_prefix="q> ")
    expected = handle.encode_queries(["Où ?"])
    copies = [copy.deepcopy(handle), pickle.loads(pickle.dumps(handle))]  # noqa: S301
    assert not any(one.is_warm for one in copies)
    assert all(np.abs(one.encode_queries(["Où ?"]) - expected).max() <= CLOSE for one in copies)
    assert len(loads) == 1
    for one in (handle, *copies):
        one.close()


def test_callers_that_wait_together_share_a_batch_and_questions_go_first(gated, pool):
    with BatchingEncoder(gated, BatchSettings(max_batch_tokens=120)) as encoder:
        first = pool.submit(encoder.encode, ["premier"])
        assert gated.started.wait(TIMEOUT)
        bulk = pool.submit(encoder.encode, SENTENCES, priority="bulk")
        wait_until(lambda: encoder.snapshot().waiting["bulk"].pairs == len(SENTENCES))
        asked = [pool.submit(encoder.encode, [question]) for question in ("Où ?", "Le vol ?", "La carte ?")]
        wait_until(lambda: encoder.snapshot().waiting["interactive"].pairs == 3)
        gated.gate.set()
        for future in (first, bulk, *asked):
            future.result(TIMEOUT)
    assert set(gated.batches[1]) >= {"Où ?", "Le vol ?", "La carte ?"}


def test_a_full_queue_refuses_at_once_and_says_how_many_texts_wait(gated, pool):
    with BatchingEncoder(gated, BatchSettings(max_waiting_pairs=2)) as encoder:
        first = pool.submit(encoder.encode, ["premier"])
        assert gated.started.wait(TIMEOUT)
        waiting = pool.submit(encoder.encode, ["a", "b"])
        wait_until(lambda: encoder.snapshot().waiting_pairs == 2)
        with pytest.raises(OverloadedError, match="2 texts are already waiting") as caught:
            encoder.encode(["c"])
        assert caught.value.waiting == 2
        gated.gate.set()
        assert first.result(TIMEOUT).shape == (1, 32)
        assert waiting.result(TIMEOUT).shape == (2, 32)


def test_a_text_that_breaks_the_model_fails_its_own_caller_only(gated, pool):
    gated.fails_on = "poison"
    with BatchingEncoder(gated) as encoder:
        first = pool.submit(encoder.encode, ["premier"])
        assert gated.started.wait(TIMEOUT)
        bad, good = pool.submit(encoder.encode, ["bon", "poison"]), pool.submit(encoder.encode, ["autre"])
        wait_until(lambda: encoder.snapshot().waiting_pairs == 3)
        gated.gate.set()
        with pytest.raises(ScoringError, match=r"the model failed on text 1 \('poison'\).*cannot read this"):
            bad.result(TIMEOUT)
        assert good.result(TIMEOUT).shape == first.result(TIMEOUT).shape == (1, 32)


def test_a_vector_that_is_not_finite_is_an_error_that_shows_its_text(engine, monkeypatch):
    monkeypatch.setattr(engine, "launch", lambda batch: lambda: np.full((len(batch), 32), np.nan, dtype=np.float32))
    with BatchingEncoder(engine) as encoder, pytest.raises(ScoringError, match="not finite for the text 'mauvais'"):
        encoder.encode(["mauvais"])


def test_a_late_caller_is_told_and_its_texts_are_dropped(gated, pool):
    with BatchingEncoder(gated) as encoder:
        first = pool.submit(encoder.encode, ["premier"])
        assert gated.started.wait(TIMEOUT)
        with pytest.raises(DeadlineExceededError, match=r"no answer within 0\.01 s for 2 texts"):
            encoder.encode(["a", "b"], timeout=0.01)
        gated.gate.set()
        first.result(TIMEOUT)
    assert gated.batches == [["premier"]]


def test_when_the_thread_dies_every_waiting_caller_is_answered(gated, pool, monkeypatch):
    class Killed(BaseException):
        """Not an error of the model: what ends a thread."""

    def die(_: object) -> None:
        assert gated.gate.wait(TIMEOUT)
        raise Killed("killed")

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(gated, "launch", die)
    encoder = BatchingEncoder(gated)
    waiting = [pool.submit(encoder.encode, [f"texte {n}"]) for n in range(4)]
    gated.gate.set()
    for future in waiting:
        with pytest.raises(ScorerClosedError, match="killed"):
            future.result(TIMEOUT)
    encoder.close()


def test_close_answers_what_waits_and_a_closed_encoder_refuses(gated, pool):
    encoder = BatchingEncoder(gated)
    waiting = pool.submit(encoder.encode, ["a"])
    assert gated.started.wait(TIMEOUT)
    closing = pool.submit(encoder.close)
    gated.gate.set()
    closing.result(TIMEOUT)
    assert waiting.result(TIMEOUT).shape == (1, 32)
    with pytest.raises(ScorerClosedError, match="this encoder was closed; make a new SharedEncoder"):
        encoder.encode(["b"])


def test_a_load_that_fails_is_not_kept_and_can_be_tried_again(tmp_path, folder):
    handle = SharedEncoder(ModelSettings(model=str(tmp_path / "model"), device="cpu"))
    with pytest.raises(ModelLoadError, match="there is no folder"):
        handle.encode_queries(["a"])
    (tmp_path / "model").symlink_to(folder)
    assert handle.encode_queries(["a"]).shape == (1, 32)
    assert handle.encode_queries([]).shape == (0, 32)
    handle.close()


async def test_texts_may_come_in_any_form_that_can_be_read_once(settings):
    with closing(SharedEncoder(settings)) as handle:
        for encode in (handle.encode, handle.encode_queries, handle.encode_passages):
            assert np.array_equal(encode(iter(SENTENCES[:2])), encode(SENTENCES[:2]))
        assert np.array_equal(await handle.aencode(iter(SENTENCES[:2])), handle.encode(SENTENCES[:2]))


def test_what_is_not_a_list_of_texts_is_refused(settings):
    handle = SharedEncoder(settings)
    for encode in (handle.encode, handle.encode_queries, handle.encode_passages):
        with pytest.raises(SettingsError, match=r"got one string|text 1 must be a string"):
            encode(["a", None])
    handle.close()


def _encode_in_child(handle, answers):
    try:
        handle.encode_queries(["a"])
    except ScorerClosedError as error:
        answers.put(str(error))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # forking is the point here
def test_a_forked_child_is_told_what_to_do_instead_of_hanging(settings):
    handle = SharedEncoder(settings)
    handle.warm_up()
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_encode_in_child, args=(handle, answers))
    child.start()
    child.join(TIMEOUT)
    assert child.exitcode == 0
    assert "spawn" in answers.get()
    handle.close()
