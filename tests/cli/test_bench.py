"""`fr-reranker bench` measures the model that was named, here and now."""

import pytest

from fr_reranker_plugin.cli.bench_run import BUDGETS, sample_requests

SHORT = ("--seconds", "0.1", "--device", "cpu")


def test_it_says_how_fast_the_model_is_and_with_what(tiny_model: str, run, no_model_left) -> None:
    done = run("bench", "--model", tiny_model, *SHORT, "--json")
    assert (done.code, done.err) == (0, "")
    found = done.json
    assert (found["model"], found["device"], found["dtype"], found["backend"]) == (
        tiny_model,
        "cpu",
        "float32",
        "torch",
    )
    assert found["pairs"] >= 40
    assert found["requests"] >= 3
    assert found["tokens_per_second"] > 10 * found["pairs_per_second"] > 0
    assert 0 < found["request_p50_ms"] <= found["request_p95_ms"]
    assert 0 < found["efficiency"] <= 1
    assert found["peak_memory_mib"] > 50
    assert found["load_seconds"] > 0
    assert found["max_batch_tokens"] == 1024
    assert "sweep" not in found


def test_the_sweep_names_the_fastest_budget_and_what_it_gains(tiny_model: str, run, no_model_left) -> None:
    done = run("bench", "--model", tiny_model, *SHORT, "--sweep", "--max-batch-tokens", "300", "--json")
    assert (done.code, done.err) == (0, "fr-reranker: trying token budgets\n")
    sweep = done.json["sweep"]
    speeds = {row["max_batch_tokens"]: row["pairs_per_second"] for row in sweep["budgets"]}
    assert list(speeds) == sorted([*BUDGETS, 300])
    assert speeds[sweep["best"]] == max(speeds.values())
    assert sweep["gain"] == pytest.approx(max(speeds.values()) / speeds[300] - 1)
    assert all(row["request_p50_ms"] > 0 for row in sweep["budgets"])


def test_the_table_says_the_same(tiny_model: str, run) -> None:
    done = run("bench", "--model", tiny_model, *SHORT, "--sweep")
    assert done.code == 0
    for words in (
        "pairs per second",
        "tokens per second",
        "MiB",
        "efficiency",
        "request p50",
        "best: --max-batch-tokens",
        "8192",
    ):
        assert words in done.out


def test_no_pair_is_asked_twice_in_the_longest_call() -> None:
    """Equal pairs that wait are scored once: a repeated one would count as speed."""
    requests = sample_requests()
    pairs = [pair for _ in range(500) for pair in next(requests)]
    assert len(set(pairs)) == len(pairs) == 10_000


def test_a_model_that_cannot_be_loaded_is_an_error_before_anything_is_measured(run) -> None:
    done = run("bench", "--model", "./absent", "--json")
    assert (done.code, done.out) == (1, "")
    assert "absent" in done.err
