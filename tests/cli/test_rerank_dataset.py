"""`fr-reranker rerank-dataset` from the command line; see tests/bulk for what becomes of rows."""

import json
from pathlib import Path

import pytest

ROW = {"id": 1, "query": "Où porter plainte ?", "passages": ["La plainte du vent.", "Au commissariat."]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in (ROW, {"query": 1}, ROW)), encoding="utf-8")
    return path


def test_rankings_are_those_of_rerank_and_what_was_left_out_is_told(run, tiny_model: str, path: Path) -> None:
    out = path.parent / "out"
    done = run(
        "rerank-dataset",
        str(path),
        "--out",
        str(out),
        "--model",
        tiny_model,
        "--on-error",
        "skip",
        "--top-k",
        "1",
        "--json",
    )
    assert done.json == {"rows": 3, "bad": 1, "parts": 1, "parts_before": 0}
    assert "1 of 3 rows could not be ranked" in done.err
    [single] = run(
        "rerank", ROW["query"], "-", "--model", tiny_model, "--json", "--top-k", "1", stdin="\n".join(ROW["passages"])
    ).json
    rows = [json.loads(line) for line in (out / "part-000000.jsonl").read_text().splitlines()]
    for row in rows:
        [best] = row["ranking"]
        assert (best["index"], best["logit"]) == (single["index"], pytest.approx(single["logit"], abs=1e-4))
    assert [row["row"] for row in rows] == [1, 3]


def test_a_bad_row_gives_its_line_and_code_2(run, tiny_model: str, path: Path) -> None:
    done = run("rerank-dataset", str(path), "--out", str(path.parent / "out"), "--model", tiny_model)
    assert done.code == 2
    assert "line 2: expected a string in 'query', found int" in done.err


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--workers", "2"], "add --ray"),
        (["--ray-address", "auto"], "add --ray"),
        (["--checkpoint-every", "0"], "--checkpoint-every"),
    ],
)
def test_wrong_options_give_one_reason_and_code_2(run, path: Path, argv: list[str], reason: str) -> None:
    done = run("rerank-dataset", str(path), "--out", str(path.parent / "out"), *argv)
    assert done.code == 2
    assert reason in done.err
