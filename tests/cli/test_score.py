"""`fr-reranker score` gives one score per pair, in the order of the file."""

import json

import pytest

from checkpoints import SENTENCES
from fr_reranker_plugin import ModelSettings, shared_scorer
from fr_reranker_plugin.scoring.ranking import BLANK_LOGIT, sigmoid

pytestmark = pytest.mark.usefixtures("no_model_left")

PAIRS = [("Où porter plainte ?", text) for text in SENTENCES] + [("Été 👨‍👩‍👧 ?", "Là → ici.")]
JSONL = "".join(json.dumps({"query": query, "passage": text}) + "\n" for query, text in PAIRS)
TSV = "".join(f"{query}\t{text}\n" for query, text in PAIRS)


@pytest.fixture
def expected(tiny_model: str) -> list[float]:
    """The logits of `PAIRS`, from the library."""
    scorer = shared_scorer(ModelSettings(model=tiny_model))
    logits = scorer.score(PAIRS)
    scorer.close()
    return logits


@pytest.mark.parametrize("text", [JSONL, TSV, TSV.replace("\n", "\r\n\r\n")], ids=["jsonl", "tsv", "tsv of windows"])
def test_there_is_one_line_a_pair(text: str, expected: list[float], tiny_model: str, run) -> None:
    done = run("score", "--model", tiny_model, stdin=text)
    assert (done.code, done.err) == (0, "")
    assert [float(line) for line in done.out.splitlines()] == pytest.approx([sigmoid(x) for x in expected], abs=1e-6)
    raw = run("score", "--model", tiny_model, "--raw-scores", stdin=text)
    assert [float(line) for line in raw.out.splitlines()] == pytest.approx(expected, abs=1e-4)


def test_json_holds_score_and_logit(expected: list[float], tiny_model: str, run) -> None:
    rows = run("score", "--model", tiny_model, "--json", stdin=JSONL).json
    assert [row["index"] for row in rows] == list(range(len(PAIRS)))
    assert [row["logit"] for row in rows] == pytest.approx(expected, abs=1e-4)
    assert all(row["score"] == sigmoid(row["logit"]) and row["truncated"] is False for row in rows)


def test_a_pair_that_was_cut_is_marked_at_its_place(tiny_model: str, run) -> None:
    long = " ".join(SENTENCES * 20)
    text = "".join(f"question {at}\t{long if at in (3, 70) else 'court'}\n" for at in range(90))
    rows = run("score", "--model", tiny_model, "--json", stdin=text).json
    assert [row["index"] for row in rows if row["truncated"]] == [3, 70]


def test_a_passage_without_text_gets_the_lowest_score(tiny_model: str, run) -> None:
    [row] = run("score", "--model", tiny_model, "--json", stdin='{"query": "q", "passage": "  "}').json
    assert (row["score"], row["logit"]) == (0.0, BLANK_LOGIT)


@pytest.mark.parametrize("form", [["--json"], []])
def test_no_pairs_load_no_model(form: list[str], run) -> None:
    done = run("score", "--model", "/there/is/none", *form, stdin="\n")
    assert (done.code, done.out) == (0, "[]\n" if form else "")
    assert done.err == "fr-reranker: no pairs in -; nothing to score\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\tb\nseule\n", "line 2: expected 2 columns with a tab between them (query, passage), found 1"),
        ("a\tb\tc\n", "line 1: expected 2 columns with a tab between them (query, passage), found 3"),
        ('{"query": "a"}', "line 1: expected an object with the strings 'query' and 'passage', found no 'passage'"),
        ('{"query": "a", "passage": 3}', "found 'passage' of type int"),
        ('{"query": "a", "passage": "b"}\n["a", "b"]', "line 2: expected an object with the strings"),
        ('{"query": "a", "pass', "line 1: expected an object with the strings"),
    ],
)
def test_a_broken_pair_is_refused_with_its_line(text: str, reason: str, run) -> None:
    done = run("score", "--model", "/there/is/none", stdin=text)
    assert (done.code, done.out) == (2, "")
    assert reason in done.err
