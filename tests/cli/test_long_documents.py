"""`fr-reranker rerank` and `score` read long passages as the library does."""

import json

import pytest

from checkpoints import SENTENCES
from fr_reranker_plugin import LongDocumentScorer, ModelSettings, WindowSettings, shared_scorer

pytestmark = pytest.mark.usefixtures("no_model_left")

QUERY = "Où porter plainte après un vol ?"
LONG = " ".join(f"{number} {sentence}" for number in range(8) for sentence in SENTENCES)
PASSAGES = [SENTENCES[0], LONG, " ", SENTENCES[4]] * 20
"""More passages than are scored between two moves of the progress bar."""


@pytest.fixture
def expected(tiny_model):
    scorer = shared_scorer(ModelSettings(model=tiny_model, max_length=96))
    logits = LongDocumentScorer(scorer, WindowSettings(aggregate="mean", overlap=16)).score(
        [(QUERY, passage) for passage in PASSAGES]
    )
    scorer.close()
    return logits


def options(model, *more):
    return ["--model", model, "--max-length", "96", "--json", *more]


WINDOWS = ["--long-documents", "mean", "--window-overlap", "16"]


def test_rerank_gives_the_best_passage_of_each_text(run, tiny_model, expected):
    done = run("rerank", QUERY, *options(tiny_model, *WINDOWS), stdin=json.dumps(PASSAGES))
    assert (done.code, done.err) == (0, "")
    assert len(done.json) == len(PASSAGES)
    for row in done.json:
        best, passage = row["best_passage"], PASSAGES[row["index"]]
        if not passage.strip():
            assert best == {"text": "", "start": 0, "end": 0, "windows": 0}
            continue
        assert row["logit"] == pytest.approx(expected[row["index"]], abs=1e-4)
        assert tuple(expected.best[row["index"]]) == (best["start"], best["end"], best["windows"])
        assert best["text"] == passage[best["start"] : best["end"]]
        assert not row["truncated"]


def test_rerank_tells_of_passages_without_text_that_nothing_was_read_also_where_there_are_no_others(run, tiny_model):
    for passages in ([" "], [" ", SENTENCES[0]]):
        rows = run("rerank", QUERY, *options(tiny_model, *WINDOWS), stdin=json.dumps(passages)).json
        assert rows[-1]["best_passage"] == {"text": "", "start": 0, "end": 0, "windows": 0}


def test_score_gives_the_best_passage_of_each_pair(run, tiny_model, expected):
    lines = "\n".join(json.dumps({"query": QUERY, "passage": passage}) for passage in PASSAGES)
    rows = run("score", *options(tiny_model, *WINDOWS), stdin=lines).json
    for index, row in enumerate(rows):
        if PASSAGES[index].strip():
            assert row["logit"] == pytest.approx(expected[index], abs=1e-4)
            assert row["best_passage"]["windows"] == expected.best[index].windows


def test_long_passages_are_truncated_unless_windows_are_asked_for(run, tiny_model):
    rows = run("rerank", QUERY, *options(tiny_model), stdin=json.dumps(PASSAGES[:4])).json
    assert [row["index"] for row in rows if row["truncated"]] == [1]
    assert all("best_passage" not in row for row in rows)


def test_the_table_shows_the_best_window(run, tiny_model):
    done = run(
        "rerank",
        QUERY,
        "--model",
        tiny_model,
        "--max-length",
        "64",
        "--long-documents",
        "max",
        stdin=f"{'x ' * 200}fin",
    )
    rows = run("rerank", QUERY, *options(tiny_model, "--long-documents", "max"), stdin=f"{'x ' * 200}fin").json
    assert "*" not in done.out
    assert rows[0]["best_passage"]["text"][:10] in done.out


@pytest.mark.parametrize("wrong", [["--long-documents", "maxp"], ["--window-overlap", "-1"]])
def test_an_option_that_makes_no_sense_is_refused(run, tiny_model, wrong):
    done = run("rerank", QUERY, "--model", tiny_model, *wrong, stdin="a")
    assert done.code == 2
    assert wrong[0] in done.err


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_data_set_is_read_in_windows_as_one_query_is(run, tiny_model, expected, tmp_path, form):
    path, out = tmp_path / f"rows.{form}", tmp_path / "out"
    rows = [{"query": QUERY, "passages": PASSAGES[:4]}, {"query": QUERY, "passages": [SENTENCES[4]]}]
    if form == "jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pytest.importorskip("pyarrow").Table.from_pylist(rows), path)
    arguments = ["rerank-dataset", str(path), "--out", str(out), *options(tiny_model)]
    done = run(*arguments, *WINDOWS)
    assert (done.code, done.json["rows"]) == (0, 2)
    [part] = out.glob(f"part-*.{form}")
    found = (
        [json.loads(line) for line in part.read_text().splitlines()]
        if form == "jsonl"
        else parquet.read_table(part).to_pylist()
    )
    for row in found:
        for one in row["ranking"]:
            best, passage = one["best_passage"], rows[row["row"] - 1]["passages"][one["index"]]
            assert best["text"] == passage[best["start"] : best["end"]]
            assert bool(best["windows"]) is bool(passage.strip())
    of_long = next(one for one in found[0]["ranking"] if one["index"] == 1)
    assert of_long["best_passage"]["windows"] == expected.best[1].windows > 1
    assert (of_long["logit"], of_long["truncated"]) == (pytest.approx(expected[1], abs=1e-4), False)
    assert "holds rankings with another windows" in run(*arguments).err
