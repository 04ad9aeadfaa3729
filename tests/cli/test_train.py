"""`fr-reranker train` as a user calls it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from checkpoints import build_cross_encoder
from cli.conftest import Outcome
from training.lessons import write_lesson


@pytest.fixture
def lesson(tmp_path: Path) -> str:
    return str(write_lesson(tmp_path / "lesson.jsonl", 8))


@pytest.mark.slow
def test_the_embedded_model_learns_on_and_serves_as_a_model(
    run: Callable[..., Outcome], lesson: str, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    done = run("train", "--data", lesson, "--out", out,
               "--dev", "sample", "--dev-first-stage", "bm25", "--dev-depth", "3", "--dev-questions", "3",
               "--steps", "2", "--eval-every", "2", "--batch-size", "4", "--max-length", "64",
               "--learning-rate", "1e-6", "--device", "cpu", "--json")  # fmt: skip
    assert done.code == 0, done.err
    report = done.json
    assert report["recipe"]["model"] == "embedded"
    assert report["dev"]["questions"] == 3
    assert "sample_collection (test), 3 candidates of bm25" in report["dev"]["name"]
    assert "step 2 of 2: loss" in done.err
    ranked = run("rerank", "Où porter plainte ?", "--model", out, "--json", stdin="Au commissariat.\nDans les pins.\n")
    assert ranked.code == 0, ranked.err
    assert ranked.json[0]["text"] == "Au commissariat."


def test_without_dev_questions_the_last_weights_are_kept_and_said_to_be_unknown(
    run: Callable[..., Outcome], lesson: str, tmp_path: Path
) -> None:
    model = str(build_cross_encoder(tmp_path / "model"))
    done = run("train", "--data", lesson, "--out", str(tmp_path / "out"), "--model", model, "--steps", "3",
               "--device", "cpu", "--loss", "bce", "--accumulation", "2", "--gradient-checkpointing")  # fmt: skip
    assert done.code == 0, done.err
    assert "nothing tells whether the model gets better" in done.err
    assert "3 of 3" in done.out
    assert "is not known" in (tmp_path / "out" / "README.md").read_text()


def test_so_many_dev_questions_are_drawn_from_examples_too(
    run: Callable[..., Outcome], lesson: str, tiny_model: str, tmp_path: Path
) -> None:
    done = run("train", "--data", lesson, "--out", str(tmp_path / "out"), "--model", tiny_model, "--steps", "1",
               "--dev-examples", str(write_lesson(tmp_path / "dev.jsonl", 9, first=50)), "--dev-questions", "3",
               "--device", "cpu", "--learning-rate", "1e-9", "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["dev"]["questions"] == 3
    assert "of 3 dev questions are trained on, too" in done.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--recipe", "magic"), "there is no recipe 'magic'; expected one of me5-base-mmarcofr, small"),
        (("--loss", "hinge"), "loss must be one of 'bce'"),
        (("--learning-rate", "0"), "learning_rate must be > 0"),
        (("--data", "absent.jsonl"), "there is no file absent.jsonl"),
        (("--dev", "sample", "--dev-examples", "x.jsonl"), "from --dev or from --dev-examples, not from both"),
        (("--dev-examples", "x.jsonl", "--dev-depth", "5"), "find candidates for the questions of --dev"),
        (("--dev", "./nowhere"), "there is no folder './nowhere'"),
        (("--device", "cuda:1"), "choose among GPUs with CUDA_VISIBLE_DEVICES"),
        (("--device", "cpu", "--precision", "fp16"), "precision 'fp16' is for GPUs"),
        (("--seed", str(2**32)), "seed must be <= 4294967295"),
        pytest.param(
            ("--device", "mps"),
            "torch sees no Apple GPU",
            marks=pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is one"),
        ),
    ],
)
def test_wrong_input_is_said_in_one_line_before_the_work(
    arguments: tuple[str, ...], reason: str, run: Callable[..., Outcome], lesson: str, tiny_model: str, tmp_path: Path
) -> None:
    done = run("train", "--data", lesson, "--out", str(tmp_path / "out"), "--model", tiny_model, *arguments)
    assert done.code == 2
    assert reason in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_data_without_negatives_ends_with_code_2(run: Callable[..., Outcome], tiny_model: str, tmp_path: Path) -> None:
    yes = str(write_lesson(tmp_path / "yes.jsonl", 4, negatives=0))
    argv = ("train", "--data", yes, "--out", str(tmp_path / "out"), "--model", tiny_model, "--device", "cpu")
    done = run(*argv)
    assert done.code == 2
    assert "none of 4 questions has passages with different labels" in done.err
    assert "'fr-reranker train-data mine'" in done.err
    done = run(*argv, "--loss", "bce")
    assert done.code == 2
    assert "there are no negatives in 4 examples" in done.err


def test_a_run_that_goes_wrong_ends_with_code_1(run: Callable[..., Outcome], tiny_model: str, tmp_path: Path) -> None:
    lesson = str(write_lesson(tmp_path / "lesson.jsonl", 24))
    done = run("train", "--data", lesson, "--out", str(tmp_path / "out"), "--model", tiny_model, "--device", "cpu",
               "--loss", "bce", "--learning-rate", "1e-9", "--stuck-after", "2", "--batch-size", "12")  # fmt: skip
    assert done.code == 1
    assert "the loss sits at" in done.err
