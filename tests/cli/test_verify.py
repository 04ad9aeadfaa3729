"""`fr-reranker verify` compares the scores of a model with those of other libraries."""

import pytest

from fr_reranker_plugin import CrossEncoder

pytestmark = [pytest.mark.usefixtures("no_model_left"), pytest.mark.timeout(300)]

ONE_ENGINE = ("--device", "cpu", "--dtype", "float32", "--backend", "torch", "--no-others")


@pytest.fixture
def shifted(monkeypatch: pytest.MonkeyPatch) -> None:
    launch = CrossEncoder.launch

    def too_much(self: CrossEncoder, batch):
        collect = launch(self, batch)
        return lambda: [logit + 5e-4 for logit in collect()]

    monkeypatch.setattr(CrossEncoder, "launch", too_much)


@pytest.mark.slow
def test_the_embedded_model_keeps_to_its_gate(run) -> None:
    done = run("verify", "embedded", *ONE_ENGINE, "--json")
    assert (done.code, done.err) == (0, "")
    found = done.json
    assert (found["model"], found["reference"], found["passed"]) == ("embedded", "transformers float32", True)
    assert found["equal_tokens"] == found["pairs"]
    [ours] = found["loaders"]
    assert (ours["loader"], ours["dtype"], ours["gate"]) == ("ours, torch", "float32", "logit ≤ 1e-4")
    assert 0 < ours["differences"]["max"] <= 1e-4
    assert ours["lost_points"] == {"nDCG@10": 0.0, "RR@10": 0.0}


def test_the_table_shows_the_same_and_takes_the_model_either_way(
    tiny_model: str, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    done = run("verify", tiny_model, *ONE_ENGINE)
    assert done.code == 0
    row = next(line for line in done.out.splitlines() if line.startswith("ours, torch"))
    assert "float32" in row
    assert row.split()[-1] == "pass"
    assert done.out.splitlines()[-1] == "passed"
    named = run("verify", "--model", tiny_model, *ONE_ENGINE)
    assert (named.code, named.out.splitlines()[0]) == (0, done.out.splitlines()[0])


def test_two_models_are_one_too_many(tiny_model: str, run) -> None:
    done = run("verify", tiny_model, "--model", "another/model", *ONE_ENGINE)
    assert done.code == 2
    assert "name one model" in done.err


def test_a_gate_that_is_missed_is_an_error(
    shifted: None, tiny_model: str, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    done = run("verify", tiny_model, *ONE_ENGINE)
    assert done.code == 1
    assert next(line for line in done.out.splitlines() if line.startswith("ours, torch")).split()[-1] == "FAIL"
    assert done.out.splitlines()[-1] == "FAILED"
    done = run("verify", tiny_model, *ONE_ENGINE, "--json")
    assert (done.code, done.json["passed"], done.json["loaders"][0]["passed"]) == (1, False, False)


def test_why_a_library_gave_no_scores_stands_below_the_table(
    tiny_model: str, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fr_reranker_plugin.evaluation.other_loaders.find_spec", lambda _: None)
    done = run("verify", tiny_model, *(option for option in ONE_ENGINE if option != "--no-others"))
    assert done.code == 0
    assert "FlagEmbedding, float32: not installed: pip install FlagEmbedding" in done.out.splitlines()


def test_a_model_that_is_not_there_is_an_error_without_a_table(run) -> None:
    done = run("verify", "/there/is/none", *ONE_ENGINE)
    assert (done.code, done.out) == (1, "")
    assert "there is no folder" in done.err
