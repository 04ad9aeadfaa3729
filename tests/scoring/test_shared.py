import asyncio
import copy
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engines import TIMEOUT, LengthEngine
from fr_reranker_plugin import (
    BatchingScorer,
    BatchSettings,
    ModelLoadError,
    ModelSettings,
    ScorerClosedError,
    SharedScorer,
    live_scorers,
    shared_scorer,
)
from fr_reranker_plugin.scoring.registry import Registry

PAIRS = [("Où voter ?", "À la mairie."), ("Où voter ?", "Le train part.")]


@pytest.mark.usefixtures("no_model_left")
def test_50_handles_and_8_threads_share_one_load(tiny_model, loads):
    handles = [SharedScorer(ModelSettings(model=tiny_model)) for _ in range(50)]
    barrier = threading.Barrier(8)

    def use(thread):
        barrier.wait(TIMEOUT)
        return [handle.score(PAIRS) for handle in handles[thread::8]]

    with ThreadPoolExecutor(8) as pool:
        answers = [answer for part in pool.map(use, range(8)) for answer in part]
    assert len(loads) == 1
    assert live_scorers() == 1
    assert all(answer == pytest.approx(answers[0], abs=1e-4) for answer in answers)
    for handle in handles:
        handle.close()


@pytest.mark.usefixtures("no_model_left")
def test_20_tasks_that_start_cold_load_once_without_blocking_their_loop(tiny_model, loads):
    handle = SharedScorer(ModelSettings(model=tiny_model))

    async def ask():
        return await asyncio.gather(*(handle.ascore(PAIRS) for _ in range(20)))

    first, *others = asyncio.run(ask())
    assert all(answer == pytest.approx(first, abs=1e-4) for answer in others)
    assert len(loads) == 1
    handle.close()


class SlowToLoad(SharedScorer):
    """Waits in every load until the gate is open; the first load fails if it is told so."""

    def __init__(self, *, fails=False):
        super().__init__(ModelSettings(model="a/slow", device="cpu"))
        self.begun, self.gate = threading.Event(), threading.Event()
        self.loads, self.fails = 0, fails

    def _load(self, model, batch):
        self.loads += 1
        self.begun.set()
        assert self.gate.wait(TIMEOUT)
        if self.fails and self.loads == 1:
            raise ModelLoadError("not this time")
        return BatchingScorer(LengthEngine(), batch)


async def begun(handle):
    """Wait for a load without a thread of the event loop."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch():
        assert handle.begun.wait(TIMEOUT)
        loop.call_soon_threadsafe(done.set)

    thread = threading.Thread(target=watch)
    thread.start()
    await asyncio.wait_for(done.wait(), TIMEOUT)
    thread.join(TIMEOUT)


@pytest.mark.usefixtures("no_model_left")
async def test_who_waits_for_a_load_leaves_the_threads_of_the_event_loop_to_others():
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    handle = SlowToLoad()
    asked = [asyncio.ensure_future(handle.ascore([("q", "abc")])) for _ in range(30)]
    await begun(handle)
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), TIMEOUT) == "free"
    handle.gate.set()
    assert await asyncio.wait_for(asyncio.gather(*asked), TIMEOUT) == [[3.0]] * 30
    assert handle.loads == 1
    handle.close()


@pytest.mark.usefixtures("no_model_left")
async def test_who_leaves_during_a_load_does_not_end_it_for_the_others():
    handle = SlowToLoad()
    leaving, staying = (asyncio.ensure_future(handle.ascore([("q", "abc")])) for _ in range(2))
    await begun(handle)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    handle.gate.set()
    assert await asyncio.wait_for(staying, TIMEOUT) == [3.0]
    assert handle.loads == 1
    handle.close()


@pytest.mark.usefixtures("no_model_left")
def test_an_event_loop_that_ends_during_a_load_disturbs_nobody(caplog):
    handle = SlowToLoad()

    async def leave():
        asked = asyncio.ensure_future(handle.ascore([("q", "abc")]))
        await begun(handle)
        asked.cancel()

    asyncio.run(leave())
    handle.gate.set()
    assert handle.score([("q", "abc")]) == [3.0]
    assert (handle.loads, caplog.records) == (1, [])
    handle.close()


@pytest.mark.usefixtures("no_model_left")
async def test_a_load_that_fails_is_told_to_all_who_wait_and_tried_again_by_the_next():
    handle = SlowToLoad(fails=True)
    asked = [asyncio.ensure_future(handle.ascore([("q", "abc")])) for _ in range(5)]
    await begun(handle)
    handle.gate.set()
    told = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), TIMEOUT)
    assert [type(error) for error in told] == [ModelLoadError] * 5
    assert await handle.ascore([("q", "abc")]) == [3.0]
    assert handle.loads == 2
    handle.close()


@pytest.mark.usefixtures("no_model_left")
def test_closing_one_handle_leaves_the_others_working_and_the_last_frees_the_model(tiny_model):
    first, second = shared_scorer(ModelSettings(model=tiny_model)), shared_scorer(ModelSettings(model=tiny_model))
    expected = first.score(PAIRS)
    first.close()
    first.close()
    assert second.score(PAIRS) == expected
    assert live_scorers() == 1
    second.close()
    assert live_scorers() == 0
    assert first.score(PAIRS) == expected
    first.close()


@pytest.mark.usefixtures("no_model_left")
def test_settings_that_mean_the_same_share_a_model_and_others_do_not(tiny_model, loads):
    same = [
        shared_scorer(ModelSettings(model=tiny_model)),
        shared_scorer(ModelSettings(model=tiny_model, device="cpu", dtype="float32", backend="torch")),
        shared_scorer(ModelSettings(model=tiny_model, token="hf_other")),
    ]
    assert len(loads) == 1
    other = shared_scorer(ModelSettings(model=tiny_model, max_length=64))
    assert len(loads) == live_scorers() == 2
    for handle in [*same, other]:
        handle.close()


@pytest.mark.usefixtures("no_model_left")
def test_a_folder_is_one_model_however_it_is_written_and_wherever_hub_models_are_kept(
    tiny_model, loads, monkeypatch, tmp_path
):
    monkeypatch.chdir(Path(tiny_model).parent)
    monkeypatch.setenv("HOME", str(Path(tiny_model).parent))
    name = Path(tiny_model).name
    written = [tiny_model, f"./{name}", name, f"~/{name}", f"../{Path(tiny_model).parent.name}/{name}/"]
    handles = [shared_scorer(ModelSettings(model=model, device="cpu")) for model in written]
    for changes in ({"local_files_only": True}, {"cache_folder": str(tmp_path)}, {"revision": "main"}):
        handles.append(shared_scorer(ModelSettings(model=tiny_model, device="cpu", **changes)))
    assert len(loads) == live_scorers() == 1
    for handle in handles:
        handle.close()


def test_a_model_of_the_hub_is_shared_with_who_must_not_ask_the_hub_but_not_between_revisions():
    registry, made = Registry(), []

    def load(model, _):
        made.append(model)
        return BatchingScorer(LengthEngine())

    for changes in ({}, {"local_files_only": True}, {"revision": "v2"}, {"cache_folder": "other"}):
        registry.acquire(BatchingScorer, ModelSettings(model="a/b", device="cpu", **changes), BatchSettings(), load)
    assert [(one.revision, one.cache_folder) for one in made] == [(None, None), ("v2", None), (None, "other")]
    for key in list(registry._entries):
        for _ in range(registry._entries[key].holders):
            registry.release(key)


@pytest.mark.usefixtures("no_model_left")
def test_a_list_of_devices_gets_a_copy_of_the_model_each_behind_one_queue(tiny_model, loads):
    one, two = (shared_scorer(ModelSettings(model=tiny_model, device=device)) for device in ("cpu", ["cpu", "cpu"]))
    assert [settings.device for settings in loads] == ["cpu", "cpu", "cpu"]
    assert live_scorers() == 2
    assert two.score(PAIRS) == pytest.approx(one.score(PAIRS), abs=1e-4)
    assert two.health().engines == two.health().engines_alive == 2
    assert two.health().is_ready
    for handle in (one, two):
        handle.close()
        assert handle.health() is None


@pytest.mark.usefixtures("no_model_left")
def test_a_load_that_fails_is_not_kept_and_can_be_tried_again(tmp_path, tiny_model):
    handle = SharedScorer(ModelSettings(model=str(tmp_path / "model")))
    for _ in range(2):
        with pytest.raises(ModelLoadError, match="there is no folder"):
            handle.score(PAIRS)
    assert live_scorers() == 0
    (tmp_path / "model").symlink_to(tiny_model)
    assert len(handle.score(PAIRS)) == 2
    handle.close()


@pytest.mark.usefixtures("no_model_left")
def test_copies_and_pickles_start_cold_and_join_the_same_model(tiny_model, loads):
    handle = shared_scorer(ModelSettings(model=tiny_model))
    copies = [copy.deepcopy(handle), copy.copy(handle), pickle.loads(pickle.dumps(handle))]  # noqa: S301
    assert not any(one.is_warm for one in copies)
    assert all(one.score(PAIRS) == handle.score(PAIRS) for one in copies)
    assert len(loads) == 1
    for one in [handle, *copies]:
        one.close()


@pytest.mark.usefixtures("no_model_left")
def test_a_handle_that_is_dropped_without_close_lets_go_of_the_model(tiny_model):
    handle = shared_scorer(ModelSettings(model=tiny_model))
    scorer = handle._live()
    del handle
    (worker,) = scorer._workers
    worker.thread.join(TIMEOUT)
    assert not worker.thread.is_alive()


def test_a_pickled_handle_does_not_carry_the_token(tiny_model):
    assert b"hf_secret" not in pickle.dumps(SharedScorer(ModelSettings(model=tiny_model, token="hf_secret")))


def test_an_empty_list_loads_nothing(tiny_model, loads):
    handle = SharedScorer(ModelSettings(model=tiny_model))
    assert handle.score([]) == []
    assert asyncio.run(handle.ascore([])) == []
    assert (loads, handle.is_warm, handle.snapshot()) == ([], False, None)


@pytest.mark.usefixtures("no_model_left")
def test_batch_settings_that_come_too_late_are_logged(tiny_model, caplog):
    first = shared_scorer(ModelSettings(model=tiny_model))
    with caplog.at_level(logging.WARNING):
        second = shared_scorer(ModelSettings(model=tiny_model), BatchSettings(max_batch_size=3))
    assert "max_batch_size=3" in caplog.text
    first.close()
    second.close()


def _score_in_child(handle, model, answers):
    for use in (lambda: handle.score(PAIRS), lambda: shared_scorer(ModelSettings(model=model))):
        try:
            use()
        except ScorerClosedError as error:
            answers.put(str(error))


@pytest.mark.usefixtures("no_model_left")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # forking is the point here
def test_a_forked_child_is_told_what_to_do_instead_of_hanging(tiny_model):
    handle = shared_scorer(ModelSettings(model=tiny_model))
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_score_in_child, args=(handle, tiny_model, answers))
    child.start()
    child.join(TIMEOUT)
    assert child.exitcode == 0
    assert "'spawn' method" in answers.get()
    assert "'spawn' method" in answers.get()
    handle.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_is_forked_while_the_queue_is_locked_is_told_and_ends():
    code = """
import os, signal, sys, threading
from engines import TIMEOUT, LengthEngine
from fr_reranker_plugin import BatchingScorer, ScorerClosedError

scorer = BatchingScorer(LengthEngine())
scorer.score([("q", "p")])
locked, done = threading.Event(), threading.Event()

def hold():
    with scorer._queue._changed, scorer._metrics._lock:
        locked.set()
        done.wait(TIMEOUT)

thread = threading.Thread(target=hold)
thread.start()
assert locked.wait(TIMEOUT)
child = os.fork()
if child == 0:
    signal.alarm(TIMEOUT)
    for use in (scorer.snapshot, scorer.health, lambda: scorer.score([("q", "p")])):
        try:
            use()
        except ScorerClosedError as error:
            assert "'spawn' method" in str(error)
        else:
            sys.exit(1)
    scorer.close()
    scorer.abandon()
    sys.exit(7)
done.set()
thread.join(TIMEOUT)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    tests = str(Path(__file__).parents[1])
    paths = {"PYTHONPATH": os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])}
    ended = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        capture_output=True, text=True, timeout=60, check=False, env=os.environ | paths,
    )  # fmt: skip
    assert (ended.stdout.split(), ended.stderr) == (["7"], "")


def test_a_child_of_a_forked_child_is_told_too(tiny_model):
    registry, settings = Registry(), ModelSettings(model=tiny_model)
    held = BatchingScorer(LengthEngine())
    registry.acquire(BatchingScorer, settings, BatchSettings(), lambda *_: held)
    for _ in range(2):
        registry.after_fork_in_child()
        with pytest.raises(ScorerClosedError, match="'spawn' method"):
            registry.acquire(BatchingScorer, settings, BatchSettings(), lambda *_: pytest.fail("was loaded"))
    held.close()


@pytest.mark.slow
@pytest.mark.usefixtures("no_model_left")
def test_32_threads_with_200_calls_each_get_the_serial_answers_of_a_real_model(tiny_model):
    handle = shared_scorer(ModelSettings(model=tiny_model))
    pairs = [("Où voter ?", f"À la mairie, salle {number}. " * (number % 5 + 1)) for number in range(50)]
    serial = [handle.score([pair])[0] for pair in pairs]
    barrier = threading.Barrier(32)

    def ask(thread):
        barrier.wait(TIMEOUT)
        places = [(thread + 7 * call) % len(pairs) for call in range(200)]
        return max(abs(handle.score([pairs[place]])[0] - serial[place]) for place in places)

    with ThreadPoolExecutor(32) as pool:
        assert max(pool.map(ask, range(32))) <= 1e-5
    handle.close()


def test_a_script_that_closes_nothing_ends_cleanly(tiny_model):
    code = f"""
from fr_reranker_plugin import BatchingScorer, CrossEncoder, ModelSettings, shared_scorer
settings = ModelSettings(model={tiny_model!r}, device="cpu")
handle, scorer = shared_scorer(settings), BatchingScorer(CrossEncoder.load(settings))
print(len(handle.score([("q", "p")] * 300)), len(scorer.score([("q", "p")])))
"""
    for _ in range(3):
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert (ended.returncode, ended.stdout.split(), ended.stderr) == (0, ["300", "1"], "")
