"""On a cluster nothing is lost and nothing is wrong when workers and replicas are killed."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")
pytest.importorskip("grpc", reason="Ray Serve is not installed")

ROOT = Path(__file__).parent.parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(280),
]
ROWS, PASSAGES, BAD = 40, 6, 17


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def seen(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What a process saw that ran a cluster; one for all tests, because a cluster takes long to start."""
    folder = tmp_path_factory.mktemp("ray")
    rows = [
        {"id": f"q{n}", "query": f"question {n}", "passages": [f"texte {n} {k}" for k in range(PASSAGES)]}
        for n in range(ROWS)
    ]
    rows[BAD] = {"query": 3}
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    arguments = [tiny_model, folder / "rows.jsonl", folder, free_port(), ROOT / "examples" / "ray" / "serve.yaml"]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("ray_process.py")), *map(str, arguments)],
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"},
        capture_output=True, text=True, timeout=270, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return {"folder": folder, **json.loads(done.stdout.split("\n")[-2])}


def rankings(folder: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(folder.glob("part-*.jsonl")) for line in path.read_text().splitlines()]


def test_a_data_set_is_ranked_as_in_one_process_though_a_worker_is_killed(seen: dict) -> None:
    found, alone = rankings(seen["folder"] / "clustered"), rankings(seen["folder"] / "alone")
    assert seen["data_set"]["killed"] == 1
    assert [row["id"] for row in found] == [f"q{n}" for n in range(ROWS) if n != BAD]
    for mine, theirs in zip(found, alone, strict=True):
        assert {**mine, "ranking": None} == {**theirs, "ranking": None}
        logits = {one["index"]: one["logit"] for one in theirs["ranking"]}
        assert {one["index"]: one["logit"] for one in mine["ranking"]} == pytest.approx(logits, abs=1e-4)


def test_the_bad_row_of_a_data_set_is_told_on_the_cluster_too(seen: dict) -> None:
    assert seen["data_set"]["clustered"] == seen["data_set"]["alone"] == {
        "rows": ROWS, "bad": 1, "parts": 20, "parts_before": 0
    }  # fmt: skip
    [path] = (seen["folder"] / "clustered").glob("errors-*")
    assert f"line {BAD + 1}: expected a string in 'query', found int" in path.read_text()


def test_a_replica_killed_under_load_fails_at_most_what_it_was_answering(seen: dict) -> None:
    served = seen["serve"]
    assert served["replicas"] == 2
    assert served["wrong"] == 0
    assert served["begun_after_the_kill"] == 0, served["failures"]
    assert len(served["failures"]) <= 6, served["failures"]
    assert served["answered_while_one_was_dead"] > 0


def test_a_killed_replica_is_replaced(seen: dict) -> None:
    assert seen["serve"]["ready"] == 200


def test_the_example_configuration_is_one(seen: dict) -> None:
    assert seen["example"] == {"import_path": True, "read_by_ray": True, "deployment": True, "min_replicas": 2}


def test_what_replicas_cannot_be_started_with_is_refused_before_any_is(seen: dict) -> None:
    misspelt, no_texts, too_many = seen["refused"]
    assert "modell" in misspelt
    assert "max_texts must be >= 1" in no_texts
    assert "2 CPUs" in too_many
