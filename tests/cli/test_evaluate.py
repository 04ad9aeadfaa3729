"""`fr-reranker evaluate` writes a report that a person and a program can read."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import small_collections as small
from cli.conftest import Outcome

FILES = {"report.json", "report.md", "runs", "evaluation.sqlite", "writer.lock"}


@pytest.fixture
def collection(tmp_path: Path) -> str:
    return str(small.write_beir(tmp_path / "petite"))


def test_a_report_is_written_and_printed(
    run: Callable[..., Outcome], collection: str, tiny_model: str, tmp_path: Path
) -> None:
    arguments = ("evaluate", "--model", tiny_model, "--collection", collection, "--out", str(tmp_path / "out"),
                 "--first-stage", "bm25", "--pools", "3,6", "--threshold-curve")  # fmt: skip
    outcome = run(*arguments)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "out" / "petite--test"
    written = {path.name for path in folder.iterdir()}
    assert written >= FILES
    pictures = {name for name in written if name.endswith(".png")}
    assert {name.split("-")[0] for name in pictures} == {"quality", "thresholds", "moves", "questions"}
    page = (folder / "report.md").read_text()
    assert outcome.out == page
    assert all(f"]({name})" in page for name in pictures)
    for expected in ("Protocol **two-stage**", "first 6 reranked", "ceiling", "The best F1", "What ran", "95 %"):
        assert expected in page
    again = run(*arguments, "--json")
    (report,) = again.json
    assert report == json.loads((folder / "report.json").read_text())
    assert report["protocol"] == "two-stage"
    assert {"fingerprint", "dtype", "backend", "max_length", "revision"} <= report["models"][tiny_model].keys()
    assert {"machine", "versions", "latency_seconds", "peak_memory_bytes"} <= report["today"].keys()
    assert len(list((folder / "runs").iterdir())) == 3


def test_single_files_and_the_pool_protocol(run: Callable[..., Outcome], tiny_model: str, tmp_path: Path) -> None:
    outcome = run(
        "evaluate", "--model", tiny_model, "--out", str(tmp_path / "out"), "--protocol", "pool", "--no-latency",
        "--corpus", str(small.write_collection_tsv(tmp_path / "collection.tsv")),
        "--queries", str(small.write_queries_tsv(tmp_path / "queries.tsv")),
        "--candidates", str(small.write_pool_lists(tmp_path / "lists.jsonl")), "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    (report,) = outcome.json
    assert report["protocol"] == "pool"
    (row,) = report["rows"]
    assert (row["pool"], row["recall_ceiling"]) == (None, 1.0)
    assert {"RR@10", "R@500", "Rprec"} <= row["measures"].keys()


def test_collections_of_one_name_are_refused_before_the_first_is_scored(
    run: Callable[..., Outcome], tiny_model: str, tmp_path: Path
) -> None:
    same = [str(small.write_beir(tmp_path / owner / "petite")) for owner in ("mine", "yours")]
    outcome = run("evaluate", "--model", tiny_model, "--collection", same[0], "--collection", same[1],
                  "--out", str(tmp_path / "out"), "--first-stage", "bm25", "--pools", "3")  # fmt: skip
    assert outcome.code == 2
    assert "petite--test" in outcome.err
    assert "one by one" in outcome.err
    assert not (tmp_path / "out").exists()


def test_some_questions_of_a_split(
    run: Callable[..., Outcome], collection: str, tiny_model: str, tmp_path: Path
) -> None:
    outcome = run("evaluate", "--model", tiny_model, "--collection", f"{collection}:test", "--out", str(tmp_path),
                  "--first-stage", "bm25", "--pools", "3", "--questions", "2", "--no-latency", "--json")  # fmt: skip
    assert outcome.json[0]["collection"]["queries"] == 2


def test_a_collection_with_white_space_in_its_ids_keeps_its_report(
    run: Callable[..., Outcome], tiny_model: str, tmp_path: Path
) -> None:
    folder = small.write_beir(tmp_path / "spaced")
    for path in (folder / "queries.jsonl", folder / "qrels" / "test.tsv"):
        path.write_text(path.read_text(encoding="utf-8").replace("300", "300 a"), encoding="utf-8")
    outcome = run("evaluate", "--model", tiny_model, "--collection", str(folder), "--out", str(tmp_path / "out"),
                  "--first-stage", "bm25", "--pools", "3", "--no-latency")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "was not written" in outcome.err
    assert "'300 a'" in outcome.err
    assert (tmp_path / "out" / "spaced--test" / "report.md").read_text(encoding="utf-8") == outcome.out
    assert list((tmp_path / "out" / "spaced--test" / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--pools", "viele"), "--pools takes whole numbers and 'all'"),
        (("--protocol", "pool"), "the pool protocol needs candidates"),
        (("--first-stage", "given"), "comes without candidate lists"),
        (("--first-stage", "nowhere.trec"), "there is no file nowhere.trec"),
        (("--measure", "Treffer"), "there is no measure 'Treffer'"),
        (("--qrels", "x"), "name collections, or the files of one"),
        (("--workers", "2"), "--workers and --ray-address say where --ray runs"),
        (("--collection", "./nowhere"), "there is no folder './nowhere'"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    arguments: tuple[str, str],
    reason: str,
    run: Callable[..., Outcome],
    collection: str,
    tiny_model: str,
    tmp_path: Path,
) -> None:
    outcome = run(
        "evaluate", "--model", tiny_model, "--collection", collection, "--out", str(tmp_path / "o"), *arguments
    )
    assert outcome.code == 2
    assert reason in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.timeout(290)
def test_a_cluster_scores_the_same_report(collection: str, tmp_path: Path) -> None:
    """Run in processes of their own, because Ray opens sockets that tests are not allowed to.

    Not with a random model: its logits lie so near to each other that the last bit of a batch decides their order.
    """
    pytest.importorskip("ray")

    def rows(out: str, *more: str) -> object:
        start = "import sys; from fr_reranker_plugin.cli import main; sys.exit(main(sys.argv[1:]))"
        command = (sys.executable, "-c", start, "evaluate", "--model", "embedded", "--json",
                   "--collection", collection, "--first-stage", "bm25", "--pools", "6", "--no-latency")  # fmt: skip
        environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
        done = subprocess.run(
            [*command, "--out", str(tmp_path / out), *more], env=environment, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)[0]["rows"]

    assert rows("cluster", "--ray", "--workers", "2") == rows("alone")
