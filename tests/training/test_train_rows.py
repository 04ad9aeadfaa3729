"""Examples as rows: what each loss reads, and what is known of it before the start."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin.errors import CollectionError, SettingsError
from fr_reranker_plugin.training.examples import TrainingExample
from fr_reranker_plugin.training.recipes import RECIPES, Recipe, find_recipe
from fr_reranker_plugin.training.trainer_arguments import paced
from fr_reranker_plugin.training.training_rows import count_taught, prepared_rows
from training.lessons import example

ONE = TrainingExample("q", ("a", "b", "c"), (1.0, 0.0, 0.0), (3.0, 1.0, -1.0))
ALIKE = TrainingExample("r", ("d", "e"), (1.0, 1.0), (0.0, 2.0))


def test_a_pointwise_loss_reads_pairs(tmp_path):
    rows, facts = prepared_rows([ONE, ALIKE], tmp_path / "rows.arrow", "bce")
    assert rows[:]["passage"] == ["a", "b", "c", "d", "e"]
    assert rows[:]["label"] == [1, 0, 0, 1, 1]
    assert (facts.examples, facts.rows, facts.pairs, facts.positives, facts.negatives) == (2, 5, 5, 3, 2)
    assert facts.no_skill == pytest.approx(-(0.6 * math.log(0.6) + 0.4 * math.log(0.4)))
    assert facts.floor == 0


def test_a_listwise_loss_reads_questions_that_have_something_to_tell_apart(tmp_path):
    rows, facts = prepared_rows([ONE, ALIKE], tmp_path / "rows.arrow", "listnet")
    assert list(rows) == [{"query": "q", "passages": ["a", "b", "c"], "labels": [1, 0, 0]}]
    assert (facts.rows, facts.left_out, facts.pairs) == (1, 1, 3)
    assert facts.no_skill == pytest.approx(math.log(3))
    assert 0 < facts.floor < facts.no_skill


def test_distillation_reads_the_scores_of_the_teacher(tmp_path):
    rows, _ = prepared_rows([ONE, ALIKE], tmp_path / "kl.arrow", "kl")
    assert rows[:]["labels"] == [[3, 1, -1], [0, 2]]
    rows, _ = prepared_rows([ONE], tmp_path / "mse.arrow", "mse")
    assert rows[:]["label"] == [3, 1, -1]
    with pytest.raises(CollectionError, match="'q' has no 'scores' of a teacher"):
        prepared_rows([replace(ONE, scores=None)], tmp_path / "none.arrow", "kl")


def test_as_many_positives_as_negatives_have_ln_2(tmp_path):
    _, facts = prepared_rows([TrainingExample("q", ("a", "b"), (1.0, 0.0))], tmp_path / "rows.arrow", "bce")
    assert facts.no_skill == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("examples", "reason"),
    [
        ([], "hold no example"),
        ([TrainingExample("q", ("a",), (1.0,))], "no negatives in 1 examples: every passage has the label 1"),
        ([TrainingExample("q", ("a", "b"), (0.5, 0.5))], "no negatives in 1 examples: every passage has the label 0.5"),
        ([TrainingExample("q", ("a",), (0.0,))], "no positives in 1 examples"),
    ],
)
def test_data_that_teaches_nothing_is_refused_each_time(tmp_path, examples, reason):
    for _ in range(2):
        with pytest.raises(CollectionError, match=reason):
            prepared_rows(examples, tmp_path / "rows.arrow", "bce")


@pytest.mark.parametrize(("loss", "other"), [("lambda", "bce"), ("listnet", "bce"), ("kl", "mse")])
def test_questions_without_passages_to_tell_apart_are_refused_where_these_are_compared(tmp_path, loss, other):
    """Positives and negatives in examples of their own, as `train-data mmarco` draws them."""
    alone = [TrainingExample("q", (text,), (label,), (label,)) for text, label in (("a", 1.0), ("b", 0.0))]
    with pytest.raises(CollectionError, match=f"none of 2 questions has .*mmarco --grouped.*--loss {other}"):
        prepared_rows(alone, tmp_path / "lists.arrow", loss)
    _, facts = prepared_rows(alone, tmp_path / "pairs.arrow", other)
    assert facts.rows == 2


@pytest.mark.parametrize("loss", ["bce", "lambda", "listnet"])
@pytest.mark.parametrize("labels", [(0.95, 0.05), (1.0, 0.33)])
def test_labels_that_only_differ_teach(tmp_path, loss, labels):
    rows, facts = prepared_rows([TrainingExample("q", ("a", "b"), labels)], tmp_path / "rows.arrow", loss)
    assert len(rows) == facts.rows > 0


def test_rows_are_written_once(tmp_path):
    first, facts = prepared_rows([ONE], tmp_path / "rows.arrow", "bce")
    again, same = prepared_rows(iter(()), tmp_path / "rows.arrow", "bce")
    assert list(again) == list(first)
    assert same == facts


@pytest.mark.parametrize("loss", ["bce", "listnet"])
def test_dev_questions_that_are_trained_on_are_counted(loss, tmp_path):
    rows, _ = prepared_rows([example(number) for number in range(8)], tmp_path / "rows", loss)
    taught = example(3).query
    assert count_taught(rows, [f"  {taught.upper()} ", "Quand ouvre la mairie ?", taught]) == 2
    assert count_taught(rows, []) == 0


def test_the_published_recipe_is_that_of_the_card():
    recipe = find_recipe("me5-base-mmarcofr")
    assert recipe == Recipe(
        model="intfloat/multilingual-e5-base", loss="bce", max_length=256, batch_size=128, steps=20_000,
        learning_rate=2e-5, schedule="constant", warm_up=0.0, weight_decay=0.01, clip=1.0, precision="bf16", seed=42,
        eval_every=1000,
    )  # fmt: skip
    assert set(RECIPES) == {"me5-base-mmarcofr", "small"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"loss": "hinge"}, "loss must be one of 'bce'"),
        ({"learning_rate": 0}, "learning_rate must be > 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number"),
        ({"warm_up": 1.5}, "warm_up is a share"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"max_length": 8}, "max_length must be >= 16"),
        ({"precision": "int8"}, "precision must be one of"),
        ({"patience": 0}, "patience must be >= 1"),
        ({"eval_every": 10, "log_every": 4}, r"log_every must divide eval_every \(10\), got 4"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused(changes, reason):
    with pytest.raises(SettingsError, match=reason):
        Recipe(model="embedded", **changes)


@given(
    rows=st.integers(1, 10**7),
    at_once=st.integers(1, 64),
    accumulation=st.integers(1, 8),
    processes=st.integers(1, 4),
    epochs=st.floats(0.01, 50),
    log_every=st.none() | st.integers(1, 300),
)
def test_a_pace_covers_the_epochs_and_its_points_meet_the_evaluations(
    rows, at_once, accumulation, processes, epochs, log_every
):
    batch = at_once * accumulation * processes
    recipe = Recipe(model="embedded", batch_size=batch, accumulation=accumulation, epochs=epochs, log_every=log_every)
    pace = paced(recipe, rows, processes)
    assert pace.rows_at_once == at_once
    assert pace.steps - 1 < epochs * math.ceil(rows / batch) <= pace.steps
    assert pace.eval_every % pace.log_every == 0
    assert pace.log_every == (log_every or pace.log_every)
    assert pace.eval_every <= max(pace.steps / 10, pace.log_every)


def test_a_batch_that_cannot_be_shared_out_is_refused():
    with pytest.raises(SettingsError, match="a multiple of 6 as batch_size"):
        paced(Recipe(model="embedded", batch_size=16, accumulation=3), 100, processes=2)
