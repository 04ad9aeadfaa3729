"""A training run teaches, survives a kill, and ends in a folder that every library reads alike."""

import importlib.util
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
import torch
from safetensors.torch import load_file

from fr_reranker_plugin import IndexLockedError, ModelSettings, SettingsError, shared_scorer
from fr_reranker_plugin.errors import TrainingError
from fr_reranker_plugin.evaluation.other_loaders import flag_embedding, plain_transformers, sentence_transformers
from fr_reranker_plugin.retrieval.folder_lock import FolderLock
from fr_reranker_plugin.training import training_run
from fr_reranker_plugin.training.checkpoints import whole_steps
from fr_reranker_plugin.training.examples import read_examples, write_examples
from fr_reranker_plugin.training.history import losses, qualities
from fr_reranker_plugin.training.training_run import train
from training.lessons import build_undecided, example, write_lesson
from training.training_process import plan

TIMEOUT = 100
STEPS = 24
PROCESS = str(Path(__file__).with_name("training_process.py"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny BERT, a lesson of 48 questions and 12 dev questions."""
    folder = tmp_path_factory.mktemp("training")
    build_undecided(folder / "model")
    write_lesson(folder / "lesson.jsonl", 48)
    write_lesson(folder / "dev.jsonl", 12, first=1000)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return str(folder / "model")


@pytest.fixture(scope="module")
def report(folder, model):
    """The report of an undisturbed run into `folder / "out"`."""
    return train(plan(model, folder, "out"))


def in_a_process(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path)])}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def assert_same_weights(one: Path, other: Path) -> None:
    expected, found = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_loss_falls_and_dev_quality_rises(report):
    values = [point.value for point in losses(report["history"])]
    assert report["last_step"] == STEPS
    assert fmean(values[-3:]) < 0.8 * fmean(values[:3])
    assert report["dev"]["kept"]["RR@10"] > report["dev"]["start"]["RR@10"] + 0.2
    assert report["dev"]["kept"]["nDCG@10"] > report["dev"]["start"]["nDCG@10"]


def test_the_folder_tells_where_the_weights_come_from(report, folder):
    out = folder / "out"
    assert json.loads((out / "training.json").read_text()) == report
    card = (out / "README.md").read_text()
    (data,) = report["data"]
    quality = f"{100 * report['dev']['kept']['RR@10']:.2f}"
    for expected in (data["file"], data["sha256"][:16], report["start"], quality, "learning_rate | 0.01",
                     "sentence-transformers", "48 questions, 144 pairs", "curves.png"):  # fmt: skip
        assert expected in card, expected
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (out / "run").iterdir()} == {"placed.json", "settings.json", "writer.lock"}
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (out / name).read_bytes() == (folder / "model" / name).read_bytes()


def test_the_result_gives_the_same_logits_in_every_library(report, folder):
    out = folder / "out"
    pairs = [(one.query, passage) for one in read_examples(folder / "dev.jsonl") for passage in one.passages]
    scorer = shared_scorer(ModelSettings(model=str(out), device="cpu"))
    ours = scorer.score(pairs)
    scorer.close()
    assert len({round(logit, 3) for logit in ours}) > 5
    for load in (sentence_transformers, plain_transformers):
        assert ours == pytest.approx(load(out, "cpu", 512)(pairs), abs=1e-4)


@pytest.mark.flagembedding
@pytest.mark.filterwarnings("ignore")  # FlagEmbedding's own
@pytest.mark.skipif(importlib.util.find_spec("FlagEmbedding") is None, reason="FlagEmbedding is not installed")
def test_the_result_gives_the_same_logits_in_flag_embedding(report, folder):
    pairs = [("Où déclarer la naissance ?", "La déclaration se fait à la mairie."), ("Où voter ?", "Le médecin.")]
    theirs = flag_embedding(folder / "out", "cpu", 512)(pairs)
    assert [one for one in theirs if one is not None]
    ours = plain_transformers(folder / "out", "cpu", 512)(pairs)
    assert [a for a, b in zip(ours, theirs, strict=True) if b is not None] == pytest.approx(
        [b for b in theirs if b is not None], abs=1e-4
    )


def test_killed_while_it_saves_it_goes_on_and_ends_with_the_same_weights(report, folder, model):
    """The kill leaves a whole checkpoint and a broken later one."""
    killed = in_a_process(PROCESS, model, str(folder), "killed", "deadly")
    assert killed.returncode == -9, killed.stderr[-2000:]
    checkpoints = folder / "killed" / "run" / "checkpoints"
    assert {path.name for path in checkpoints.glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-8"}
    assert whole_steps(checkpoints) == [4]
    assert not (folder / "killed" / "config.json").exists()
    told = []
    again = train(plan(model, folder, "killed"), tell=told.append)
    assert f"going on after step 4 of {STEPS}" in told
    for name in ("kept_step", "last_step", "dev", "rows"):
        assert again[name] == report[name]
    assert losses(again["history"]) == losses(report["history"])
    assert qualities(again["history"]) == qualities(report["history"])
    assert_same_weights(folder / "out", folder / "killed")


@pytest.mark.parametrize("stopped_at", [9, 12, 22])
def test_stopped_in_any_epoch_it_ends_with_the_same_last_weights(stopped_at, folder, model):
    """Twelve steps are an epoch; checkpoints are four steps apart, and the last step is none of theirs."""
    changes = {"steps": 26, "accumulation": 2}
    if not (folder / "last").exists():
        train(replace(plan(model, folder, "last", **changes), dev=None))
    out = f"stopped-{stopped_at}"

    @contextmanager
    def interrupted(label, total):
        done = 0

        def advance(steps):
            nonlocal done
            done += steps
            if label == "training" and done == stopped_at:
                raise KeyboardInterrupt

        yield advance

    asked = replace(plan(model, folder, out, **changes), dev=None)
    with pytest.raises(KeyboardInterrupt):
        train(asked, show=interrupted)
    assert whole_steps(folder / out / "run" / "checkpoints") == [*range(4, stopped_at, 4)][-2:]
    assert train(asked)["kept_step"] == 26
    assert_same_weights(folder / "last", folder / out)


def test_a_run_that_ended_early_and_was_killed_before_its_result_only_writes_it(folder, model, monkeypatch):
    ends = plan(model, folder, "early", patience=2)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(training_run, "save_result", killed)
    with pytest.raises(KeyboardInterrupt):
        train(ends)
    monkeypatch.undo()
    (*_, last) = whole_steps(folder / "early" / "run" / "checkpoints")
    assert last < STEPS
    told = []
    report = train(ends, tell=told.append)
    assert told[-1] == f"going on after step {last} of {STEPS}"
    assert (report["last_step"], report["kept_step"]) == (last, last - 8)


@pytest.mark.parametrize("loss", ["lambda", "listnet", "mse", "kl"])
def test_every_loss_teaches(loss, folder, model):
    scored = [replace(one, scores=tuple(4 * label for label in one.labels)) for one in map(example, range(48))]
    write_examples(folder / "scored.jsonl", scored, force=True)
    asked = plan(model, folder, loss, loss=loss, batch_size=12 if loss == "mse" else 4, epochs=1)
    report = train(replace(asked, data=(folder / "scored.jsonl",)))
    assert report["dev"]["kept"]["RR@10"] > report["dev"]["start"]["RR@10"] + 0.2


@pytest.mark.parametrize("accumulation", [1, 3])
def test_so_many_epochs_are_so_many_passes_over_the_data(accumulation, folder, model):
    """Seven pairs in steps of six: the last step of each epoch has one."""
    write_examples(folder / "seven.jsonl", [example(0, negatives=6)], force=True)
    asked = plan(model, folder, f"passes-{accumulation}", epochs=3, batch_size=6, accumulation=accumulation)
    report = train(replace(asked, data=(folder / "seven.jsonl",), dev=None))
    assert report["last_step"] == report["steps"] == 6
    assert report["history"][-1]["epoch"] == 3


def test_autocast_keeps_weights_in_float32(folder, model):
    report = train(plan(model, folder, "bf16", precision="bf16", epochs=1))
    assert report["precision"] == "bf16"
    assert report["dev"]["kept"]["RR@10"] > report["dev"]["start"]["RR@10"] + 0.2
    for name, value in load_file(folder / "bf16" / "model.safetensors").items():
        assert value.dtype == torch.float32
        assert not name.endswith("query.weight") or not torch.equal(value, value.bfloat16().float())


def test_a_finished_run_is_not_run_again(report, folder, model):
    before = (folder / "out" / "model.safetensors").stat().st_mtime_ns
    told = []
    assert train(plan(model, folder, "out"), tell=told.append) == report
    assert "holds the finished result" in told[0]
    assert (folder / "out" / "model.safetensors").stat().st_mtime_ns == before


def test_a_folder_belongs_to_one_run(report, folder, model):
    with pytest.raises(SettingsError, match=r"another run \(learning_rate: 0.01 there, 0.001 here\).*--restart"):
        train(plan(model, folder, "out", learning_rate=1e-3))


def test_a_restart_removes_the_earlier_model_and_leaves_what_others_put_there(folder, model, checkpoint_of):
    out, notes = folder / "again", folder / "again" / "notes.txt"
    before = checkpoint_of("xlm-roberta")
    train(replace(plan(str(before), folder, "again", steps=1), dev=None))
    notes.write_text("à moi")
    names = {path.name for path in out.iterdir()}
    wrong = plan(model, folder, "again", steps=2, learning_rate=1e25)
    with pytest.raises(TrainingError):
        train(replace(wrong, dev=None, restart=True))
    assert {path.name for path in out.iterdir()} == {"run", "notes.txt"}
    train(replace(plan(model, folder, "again", steps=1), dev=None))
    made = {path.name for path in out.iterdir()} - {"run", "notes.txt", "training.json"}
    assert made == {path.name for path in (folder / "model").iterdir()} | {"README.md", "curves.png"} != names
    assert notes.read_text() == "à moi"


def test_a_folder_with_something_else_is_left_alone(folder, model):
    (folder / "else").mkdir()
    (folder / "else" / "letter.txt").write_text("Chère Madame")
    with pytest.raises(SettingsError, match="holds something that is no training run"):
        train(plan(model, folder, "else"))


def test_a_batch_that_cannot_be_shared_out_is_refused_before_anything_is_read(folder, model):
    asked = plan(model, folder, "uneven", batch_size=16, accumulation=3)
    with pytest.raises(SettingsError, match="a multiple of 3 as batch_size"):
        train(replace(asked, data=(folder / "absent.jsonl",)))
    assert not (folder / "uneven").exists()


def test_two_processes_do_not_train_into_one_folder(folder, model):
    (folder / "busy" / "run").mkdir(parents=True)
    lock = FolderLock(folder / "busy" / "run" / "writer.lock")
    with pytest.raises(IndexLockedError):
        train(plan(model, folder, "busy"))
    lock.release()
