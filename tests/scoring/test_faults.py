import sys
import threading
import weakref

import pytest
import torch

from encoders import build_bi_encoder
from engines import TIMEOUT, FailsOn, Fits, GatedEngine, LengthEngine, LosesItsDevice, Pipelined, wait_until
from fr_reranker_plugin import (
    BatchingScorer,
    BatchSettings,
    CrossEncoder,
    DeviceLostError,
    ModelSettings,
    ScorerClosedError,
    ScoringError,
)
from fr_reranker_plugin.retrieval.encoder_engine import EncoderEngine
from fr_reranker_plugin.scoring.faults import TokenBudget, is_device_lost, is_out_of_memory, watching
from fr_reranker_plugin.scoring.forward.batch import PackedBatch


class OutOfMemoryError(RuntimeError):
    """Named like torch's, which the core does not import."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 12884901888"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_errors_of_memory_are_known(error):
    assert is_out_of_memory(error)
    assert not is_device_lost(error)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: device-side assert triggered",
        "CUDA error: unspecified launch failure",
        "CUDA error: uncorrectable ECC error encountered",
        "CUDA error: Invalid access of peer GPU memory over nvlink or a hardware error",
        "CUDA error: invalid program counter",
        "CUDA error: operation not supported on global/shared address space",
        "CUDA error: an exception occurred on the device",
    ],
)
def test_errors_of_a_lost_device_are_known(message):
    assert is_device_lost(RuntimeError(message))
    assert not is_out_of_memory(RuntimeError(message))


@pytest.mark.parametrize("error", [RuntimeError("cannot read 'device-side assert'"), ValueError("CUDA unknown error")])
def test_other_errors_are_neither(error):
    assert not is_device_lost(error)
    assert not is_out_of_memory(error)


@pytest.mark.parametrize("pads", [True, False])
@pytest.mark.parametrize("error", [MemoryError("no"), OutOfMemoryError("CUDA out of memory")])
def test_a_batch_too_large_for_the_memory_is_halved_and_every_score_comes(error, pads):
    engine = Fits(100, error, pads=pads)
    with BatchingScorer(engine, BatchSettings(max_batch_tokens=1000)) as scorer:
        assert scorer.score([(str(n), "x" * 10) for n in range(200)]) == [10.0] * 200
        counts = scorer.snapshot()
    assert counts.oom_splits == counts.splits > 0
    assert counts.failed_pairs == 0


def test_what_did_not_fit_is_remembered():
    engine = Fits(100)
    with BatchingScorer(engine, BatchSettings(max_batch_tokens=1000)) as scorer:
        scorer.score([(str(n), "x" * 10) for n in range(200)])
        assert scorer.snapshot().token_budgets[0] <= 100
        before = scorer.snapshot().oom_splits
        scorer.score([(str(n), "x" * 9) for n in range(200)])
        assert scorer.snapshot().oom_splits == before


def test_a_single_pair_that_does_not_fit_fails_its_own_caller_only_and_says_what_to_do(pool):
    class Gated(Fits, GatedEngine):
        pass

    engine = Gated(100)
    with BatchingScorer(engine, BatchSettings(max_batch_tokens=1000)) as scorer:
        first = pool.submit(scorer.score, [("q", "a")])
        assert engine.started.wait(TIMEOUT)
        fine = [pool.submit(scorer.score, [(str(n), "x" * 90)]) for n in range(5)]
        too_long = pool.submit(scorer.score, [("q", "fine"), ("q", "y" * 101)])
        wait_until(lambda: scorer.snapshot().waiting_pairs == 7)
        engine.gate.set()
        assert first.result(TIMEOUT) == [1.0]
        assert [future.result(TIMEOUT) for future in fine] == [[90.0]] * 5
        with pytest.raises(ScoringError, match="out of memory on pair 1 .*101 tokens.*max_length") as caught:
            too_long.result(TIMEOUT)
        assert isinstance(caught.value.__cause__, MemoryError)
        assert scorer.snapshot().token_budgets[0] >= 90  # a smaller one would not help the longest pair that fits


def test_a_pair_that_did_not_fit_beside_another_batch_is_tried_alone(pool):
    class Crowded(Pipelined):
        def launch(self, batch):
            wait = super().launch(batch)
            if len(self.batches) == 2:
                raise MemoryError("another batch is under way")
            return wait

    engine = Crowded()
    for gate in engine.gates:
        gate.set()
    engine.gates[0].clear()
    with BatchingScorer(engine, BatchSettings(max_batch_tokens=10)) as scorer:
        answer = pool.submit(scorer.score, [("q", "x" * 10), ("r", "x" * 10)])
        assert engine.launched[1].wait(TIMEOUT)
        engine.gates[0].set()
        assert answer.result(TIMEOUT) == [10.0, 10.0]


def test_the_budget_is_halved_at_once_and_grows_back_in_small_steps_to_the_limit():
    budget = TokenBudget(1024)
    budget.shrink(1024, longest=100)
    assert budget.tokens == 512
    budget.shrink(300, longest=100)
    assert budget.tokens == 150
    budget.shrink(150, longest=100)
    assert budget.tokens == 100
    for _ in range(199):
        budget.grow(100)
    budget.grow(10)  # a small batch proves nothing
    assert budget.tokens == 100
    budget.grow(100)
    assert budget.tokens == 132
    for _ in range(200 * 40):
        budget.grow(budget.tokens)
    assert budget.tokens == 1024


def test_a_failed_pass_is_not_kept_alive_by_the_error_of_its_caller():
    class Tensor:
        pass

    tensors = []

    class Leaves(LengthEngine):
        def forward(self, batch):
            tensor = Tensor()
            tensors.append(weakref.ref(tensor))
            raise ValueError("cannot")

    with BatchingScorer(Leaves()) as scorer, pytest.raises(ScoringError) as caught:
        scorer.score([("q", "a")])
    assert isinstance(caught.value.__cause__, ValueError)
    assert tensors[0]() is None


def test_a_poisonous_pair_is_named_by_its_place_in_what_the_caller_asked():
    with (
        BatchingScorer(FailsOn("poison"), BatchSettings(max_slice_pairs=10)) as scorer,
        pytest.raises(ScoringError, match="pair 27 "),
    ):
        scorer.score([(str(n), "poison" if n == 27 else "fine") for n in range(40)])


def test_a_lost_device_answers_everyone_and_refuses_the_rest(pool):
    engine = LosesItsDevice()
    with BatchingScorer(engine, BatchSettings(max_batch_size=1)) as scorer:
        asked = [pool.submit(scorer.score, [(str(n), "a"), (str(n), "b")]) for n in range(8)]
        assert engine.started.wait(TIMEOUT)
        wait_until(lambda: scorer.snapshot().waiting_pairs == 15)
        engine.gate.set()
        for future in asked:
            with pytest.raises(DeviceLostError, match=r"illegal memory access.*new process"):
                future.result(TIMEOUT)
        with pytest.raises(DeviceLostError, match="new process"):
            scorer.score([("q", "a")])
        wait_until(lambda: scorer.health().engines_alive == 0)
        assert not scorer.health().is_ready
    assert len(engine.batches) == 1


def test_when_one_of_several_devices_is_lost_the_others_go_on(pool):
    bad, good = LosesItsDevice(), GatedEngine()
    with BatchingScorer([bad, good], BatchSettings(max_batch_size=1)) as scorer:
        asked = [pool.submit(scorer.score, [(str(n), "a" * (n + 1))]) for n in range(8)]
        assert bad.started.wait(TIMEOUT)
        assert good.started.wait(TIMEOUT)
        wait_until(lambda: scorer.snapshot().waiting_pairs == 6)
        bad.gate.set()
        wait_until(lambda: scorer.health().engines_alive == 1)
        good.gate.set()
        answers = [future.exception(TIMEOUT) or future.result(TIMEOUT) for future in asked]
        assert sum(isinstance(answer, DeviceLostError) for answer in answers) == 1
        assert all(answer == [n + 1.0] for n, answer in enumerate(answers) if not isinstance(answer, DeviceLostError))
        assert scorer.health().is_ready
        assert scorer.score([("q", "still")]) == [5.0]


class OnCuda(FailsOn):
    """Fails with an error that does not tell whether its device is lost, and asks the device."""

    def launch(self, batch):
        with watching(torch.device("cuda:0")):
            return super().launch(batch)


@pytest.fixture(params=[True, False], ids=["it answers", "it is lost"])
def device_answers(request, monkeypatch):
    def synchronize(_):
        if not request.param:
            raise RuntimeError("CUDA error: whatever comes after")

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    return request.param


def test_after_an_error_that_does_not_tell_the_device_is_asked(device_answers):
    pairs = [(str(n), "poison" if n == 7 else "fine") for n in range(20)]
    with BatchingScorer(OnCuda("poison"), BatchSettings(max_batch_size=20)) as scorer:
        with pytest.raises(ScoringError if device_answers else DeviceLostError, match="cannot read 'poison'"):
            scorer.score(pairs)
        wait_until(lambda: scorer.health().engines_alive == device_answers)


@pytest.mark.parametrize("kind", [CrossEncoder, EncoderEngine])
def test_an_engine_on_cuda_asks_its_device_when_it_launches_and_when_it_waits(
    monkeypatch, tiny_model, tmp_path, device_answers, kind
):
    folder = tiny_model if kind is CrossEncoder else build_bi_encoder(tmp_path / "model")
    engine = kind.load(ModelSettings(model=str(folder), device="cpu"))
    encoded = engine.encode([("Où voter ?", "À la mairie.")] if kind is CrossEncoder else ["Où voter ?"])

    def fail(*_):
        raise RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`")

    monkeypatch.setattr(sys.modules[kind.__module__], "on_host", lambda _: fail)
    wait = engine.launch(encoded)
    engine._device, engine._forward = torch.device("cuda:0"), fail
    monkeypatch.setattr(PackedBatch, "of", lambda *_, **__: None)
    for step in (wait, lambda: engine.launch(encoded)):
        with pytest.raises(RuntimeError, match="EXECUTION_FAILED") as caught:
            step()
        assert isinstance(caught.value, DeviceLostError) is not device_answers


@pytest.mark.usefixtures("device_answers")
def test_a_device_is_not_asked_when_memory_runs_out_or_where_there_is_no_cuda():
    for device, message in (("cuda:0", "CUDA out of memory"), ("mps", "MPS backend failed")):
        with pytest.raises(RuntimeError, match=message) as caught, watching(torch.device(device)):
            raise RuntimeError(message)
        assert not isinstance(caught.value, DeviceLostError)


def test_several_engines_share_one_queue(pool):
    engines = [GatedEngine(), GatedEngine()]
    with BatchingScorer(engines, BatchSettings(max_batch_size=10)) as scorer:
        answer = pool.submit(scorer.score, [(str(n), "x" * (n % 9 + 1)) for n in range(100)])
        assert all(engine.started.wait(TIMEOUT) for engine in engines)
        for engine in engines:
            engine.gate.set()
        assert answer.result(TIMEOUT) == [n % 9 + 1.0 for n in range(100)]
        assert scorer.health().engines == scorer.health().engines_alive == 2
    assert sum(len(batch) for engine in engines for batch in engine.batches) == 100


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the thread is killed on purpose
@pytest.mark.parametrize("depth", [1, 2])
def test_whatever_stops_the_thread_answers_what_was_under_way(pool, depth):
    class Dies(GatedEngine):
        def launch(self, batch):
            wait = super().launch(batch)
            if len(self.batches) == depth:
                raise SystemExit("killed")
            return wait

    engine = Dies()
    engine.depth = depth
    with BatchingScorer(engine, BatchSettings(max_batch_size=1)) as scorer:
        asked = [pool.submit(scorer.score, [(str(n), "a")]) for n in range(6)]
        assert engine.started.wait(TIMEOUT)
        wait_until(lambda: scorer.snapshot().waiting_pairs == 5)
        engine.gate.set()
        for future in asked:
            with pytest.raises(ScorerClosedError, match="killed"):
                future.result(TIMEOUT)


def test_closing_in_the_middle_answers_everyone_with_logits_or_an_error(pool):
    engine = LengthEngine()
    scorer = BatchingScorer(engine, BatchSettings(max_batch_size=2, max_slice_pairs=8))
    barrier = threading.Barrier(17)

    def ask(caller):
        barrier.wait(TIMEOUT)
        try:
            while True:
                assert scorer.score([(f"{caller}, {n}", "x" * 5) for n in range(40)]) == [5.0] * 40
        except ScorerClosedError:
            return "told"

    asked = [pool.submit(ask, caller) for caller in range(16)]
    barrier.wait(TIMEOUT)
    wait_until(lambda: scorer.snapshot().batches > 20)
    pool.submit(scorer.close).result(TIMEOUT)
    assert [future.result(TIMEOUT) for future in asked] == ["told"] * 16
    assert scorer.health().engines_alive == 0
