"""Every alarm, provoked by data or settings that call for it."""

import json
import math
from dataclasses import replace
from typing import get_args

import pytest
from transformers import TrainerState

from fr_reranker_plugin.errors import CollectionError, TrainingError
from fr_reranker_plugin.training.alarms import StuckLoss
from fr_reranker_plugin.training.checkpoints import whole_steps
from fr_reranker_plugin.training.dev_sets import DevQuestion, measure_dev
from fr_reranker_plugin.training.examples import write_examples
from fr_reranker_plugin.training.history import best_quality, ends_early, evaluations_since_best, start_quality
from fr_reranker_plugin.training.recipes import LossName
from fr_reranker_plugin.training.training_plan import run_facts
from fr_reranker_plugin.training.training_rows import RowFacts
from fr_reranker_plugin.training.training_run import train
from training.lessons import build_undecided, example, write_lesson
from training.training_process import plan


@pytest.fixture
def folder(tmp_path):
    build_undecided(tmp_path / "model")
    write_lesson(tmp_path / "lesson.jsonl", 48)
    write_lesson(tmp_path / "dev.jsonl", 12, first=1000)
    return tmp_path


def test_a_loss_that_sits_at_ln_2_stops_the_run(folder):
    write_lesson(folder / "lesson.jsonl.gz", 24, negatives=1)
    asked = plan(str(folder / "model"), folder, "out", learning_rate=1e-9, stuck_after=6, eval_every=6, epochs=4)
    with pytest.raises(TrainingError, match=r"the loss sits at .* after 6 steps; .* has 0\.6931\. .*--learning-rate"):
        train(replace(asked, data=(folder / "lesson.jsonl.gz",), dev=None))


def test_a_loss_above_no_skill_that_falls_does_not_stop_the_run_and_one_that_stands_does():
    """A model that is too sure of itself begins there: the embedded one with listnet has 2.2, where no skill is 1.6."""
    alarm = StuckLoss(RowFacts(no_skill=1.61, floor=1.5), stuck_after=500)
    falling = [{"step": step, "loss": 1.52 + 0.68 * math.exp(-step / 80)} for step in range(4, 901, 4)]
    for end in range(1, len(falling) + 1):
        alarm.on_log(None, TrainerState(global_step=falling[end - 1]["step"], log_history=falling[:end]), None)
    standing = [{"step": step, "loss": 1.61} for step in range(4, 501, 4)]
    with pytest.raises(TrainingError, match=r"the loss sits at 1\.6100 after 500 steps"):
        alarm.on_log(None, TrainerState(global_step=500, log_history=standing), None)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_batch(folder):
    examples = [replace(example(n), scores=(1e30 if n == 3 else 1.0, 0.0, 0.0)) for n in range(8)]
    write_examples(folder / "scored.jsonl", examples)
    asked = replace(plan(str(folder / "model"), folder, "out", loss="mse"), data=(folder / "scored.jsonl",), dev=None)
    with pytest.raises(TrainingError, match=r"the loss is inf at step \d; its batch is in (\S+)\.") as stopped:
        train(asked)
    (path,) = (folder / "out" / "run").glob("batch-of-step-*.json")
    assert str(path) in str(stopped.value)
    batch = json.loads(path.read_text())
    assert example(3).query in batch["query"]
    assert max(batch["label"]) == pytest.approx(1e30, rel=1e-6)


@pytest.mark.parametrize("loss", get_args(LossName))
def test_weights_that_are_not_finite_stop_the_run_whatever_the_loss(loss, folder):
    write_examples(folder / "scored.jsonl", [replace(example(n), scores=(4.0, 0.0, 0.0)) for n in range(8)])
    asked = plan(str(folder / "model"), folder, "out", loss=loss, learning_rate=1e25, steps=4)
    with pytest.raises(TrainingError, match="--learning-rate"):
        train(replace(asked, data=(folder / "scored.jsonl",), dev=None))
    assert not (folder / "out" / "training.json").exists()
    assert not whole_steps(folder / "out" / "run" / "checkpoints")


def test_logits_that_are_not_finite_are_no_ranking():
    question = DevQuestion("q", {"a": "right", "b": "wrong"}, {"a": 1})
    for logit in (math.nan, math.inf):
        with pytest.raises(TrainingError, match=r"the model gives (nan|inf) as the logit .* 1 of 2"):
            measure_dev([question], lambda _, logit=logit: [0.0, logit])


def test_data_without_negatives_is_refused_before_the_start(folder):
    write_lesson(folder / "yes.jsonl", 8, negatives=0)
    asked = replace(plan(str(folder / "model"), folder, "out"), data=(folder / "yes.jsonl",))
    with pytest.raises(CollectionError, match=r"no negatives in 8 examples.*train-data mine"):
        train(asked)
    train(replace(asked, data=(folder / "lesson.jsonl",), dev=None))  # the refused run does not hold the folder


def test_dev_quality_that_falls_below_the_start_stops_the_run(folder):
    """The lesson says the contrary of the dev questions, for a model that has learnt these."""
    train(plan(str(folder / "model"), folder, "good"))
    write_lesson(folder / "lies.jsonl", 48, reverse=True)
    asked = plan(str(folder / "good"), folder, "out", eval_every=2)
    with pytest.raises(TrainingError, match=r"dev RR@10 fell from .* 3 times in a row.*--learning-rate"):
        train(replace(asked, data=(folder / "lies.jsonl",)))
    assert (folder / "out" / "run" / "curves.png").is_file()
    assert not (folder / "out" / "config.json").exists()


def test_a_report_is_json_whatever_the_gradients_were(folder):
    history = [{"step": 1, "loss": 0.5, "grad_norm": math.nan}, {"step": 2, "loss": 0.4, "grad_norm": math.inf}]
    facts = run_facts(
        replace(plan("embedded", folder, "out"), dev=None), history, kept_step=2, dev_questions=0, dev_taught=0
    )
    assert json.loads(json.dumps(facts, allow_nan=False))["history"] == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 0.4},
    ]


def evaluated(*values):
    return [{"step": 4 * n, "eval_RR@10": value} for n, value in enumerate(values)]


def test_the_run_ends_when_quality_has_not_risen_for_so_many_evaluations():
    history = evaluated(0.9, 0.5, 0.7, 0.7, 0.6)
    assert start_quality(history).value == 0.9
    assert best_quality(history) == (8, 0.7)
    assert evaluations_since_best(history) == 2
    assert ends_early(history, 2)
    assert not ends_early(history, 3)
    assert not ends_early(history, None)
    assert not ends_early(evaluated(0.9), 1)
