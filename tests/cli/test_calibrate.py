"""`fr-reranker calibrate` makes a file from judged pairs, and `rerank` and `score` use it."""

import json
from pathlib import Path

import pytest

from checkpoints import SENTENCES
from fr_reranker_plugin import Calibration, ModelSettings, shared_scorer
from fr_reranker_plugin.collections import load_collection, sample_folder
from fr_reranker_plugin.evaluation.calibration_fit import brier_score, fit_calibration
from fr_reranker_plugin.evaluation.judged_pairs import judged_pairs
from fr_reranker_plugin.scoring.ranking import sigmoid

pytestmark = pytest.mark.usefixtures("no_model_left")

QUESTIONS = slice(43, 48)
"""Few questions of the sample, of those that the embedded model finds answers to: few pairs tell little."""


def jsonl(*pairs: object) -> str:
    return "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)


def labelled(query: str, passage: str, label: object) -> dict[str, object]:
    return {"query": query, "passage": passage, "label": label}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some questions of the sample collection, as a collection of their own with the split `dev`."""
    sample, folder = sample_folder(), tmp_path_factory.mktemp("collection")
    for name in ("corpus.jsonl", "queries.jsonl"):
        (folder / name).write_bytes((sample / name).read_bytes())
    questions = list(load_collection(sample).qrels)[QUESTIONS]
    lines = (sample / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()
    (folder / "qrels").mkdir()
    kept = [lines[0], *(line for line in lines[1:] if line.split("\t")[0] in questions)]
    (folder / "qrels" / "dev.tsv").write_text("\n".join(kept) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def pairs(tiny_model: str) -> list[dict[str, object]]:
    """Pairs that the tiny model, whose weights are random, finds relevant by and large, and others."""
    scorer = shared_scorer(ModelSettings(model=tiny_model))
    asked = [(query, passage) for query in SENTENCES for passage in SENTENCES]
    logits = scorer.score(asked)
    scorer.close()
    middle = sorted(logits)[len(logits) // 2]
    return [
        labelled(query, passage, int((logit > middle) != (place % 7 == 0)))
        for place, ((query, passage), logit) in enumerate(zip(asked, logits, strict=True))
    ]


def test_a_collection_gives_a_file_and_a_table_that_agree(collection: Path, tmp_path: Path, run) -> None:
    file = tmp_path / "calibration.json"
    argv = ["calibrate", "--collection", str(collection), "--candidates", "4", "--folds", "3", "--output", str(file)]
    done = run(*argv)
    assert done.code == 0, done.err
    assert "the first 4 passages of each question by BM25 count as not relevant where they are not judged" in done.err
    made = Calibration.load(file)
    expected = judged_pairs(load_collection(collection, "dev"), candidates=4)
    assert (made.model, made.report.queries, made.report.folds, made.report.seed) == ("embedded", 5, 3, 0)
    assert (made.report.pairs, made.report.relevant) == (len(expected), sum(pair.relevant for pair in expected))
    assert len(made.fingerprint) == 32
    facts = dict(line.split("  ", 1) for line in done.out.splitlines())
    assert facts["pairs"].strip() == f"{len(expected)}, {made.report.relevant} of them relevant"
    assert facts["temperature"].strip() == f"{made.temperature:.4f}"
    assert facts["bias"].strip() == f"{made.bias:.4f}"
    assert facts["score of logit 0"].strip() == f"0.5000 → {made.probability(0):.4f}"
    for name, before, after in (
        ("ECE", made.report.ece_before, made.report.ece_after),
        ("Brier", made.report.brier_before, made.report.brier_after),
    ):
        assert facts[name].strip() == f"{before:.4f} → {after:.4f} (held out: 3 folds by query)"
    assert "written to" in facts


def test_pairs_of_a_file_are_fitted_as_the_library_does(pairs, tiny_model: str, tmp_path: Path, run) -> None:
    file = tmp_path / "calibration.json"
    blank = labelled("q", " ", 1)
    argv = ["calibrate", "-", "--model", tiny_model, "--output", str(file), "--seed", "5", "--json"]
    done = run(*argv, stdin=jsonl(*pairs, blank))
    assert (done.code, done.err) == (0, "")
    assert done.json == json.loads(file.read_text(encoding="utf-8"))
    scorer = shared_scorer(ModelSettings(model=tiny_model))
    logits = scorer.score([(pair["query"], pair["passage"]) for pair in pairs])
    scorer.close()
    labels, queries = [pair["label"] for pair in pairs], [pair["query"] for pair in pairs]
    expected, made = fit_calibration(logits, labels, queries=queries, seed=5), Calibration.load(file)
    assert (made.temperature, made.bias) == pytest.approx((expected.temperature, expected.bias), rel=1e-3)
    assert made.report.ece_after == pytest.approx(expected.report.ece_after, abs=1e-3)
    assert made.report.brier_before == pytest.approx(brier_score([sigmoid(x) for x in logits], labels), abs=1e-6)
    assert made.model == tiny_model


def test_rerank_and_score_give_the_probabilities(tiny_model: str, tmp_path: Path, run) -> None:
    file = tmp_path / "calibration.json"
    calibration = Calibration(temperature=2.0, bias=-1.0, model=tiny_model)
    calibration.save(file)
    argv = ["--model", tiny_model, "--json", "--calibration", str(file)]
    ranked = run("rerank", "Où porter plainte ?", *argv, stdin=json.dumps([*SENTENCES, ""])).json
    plain = run("rerank", "Où porter plainte ?", *argv[:-2], stdin=json.dumps([*SENTENCES, ""])).json
    assert [row["index"] for row in ranked] == [row["index"] for row in plain]
    assert [row["score"] for row in ranked] == calibration.probabilities(row["logit"] for row in ranked)
    assert ranked[-1]["score"] == 0.0
    least = str(ranked[1]["score"])
    kept = run("rerank", "Où porter plainte ?", *argv, "--threshold", least, stdin=json.dumps(SENTENCES)).json
    assert [row["index"] for row in kept] == [row["index"] for row in ranked[:2]]
    scored = run("score", *argv, stdin=jsonl(*({"query": "q", "passage": text} for text in SENTENCES))).json
    assert [row["score"] for row in scored] == calibration.probabilities(row["logit"] for row in scored)


@pytest.mark.parametrize("command", [["rerank", "q"], ["score"]])
def test_a_calibration_that_cannot_be_used_is_refused_before_the_model_is_loaded(command, tmp_path: Path, run) -> None:
    file = tmp_path / "calibration.json"
    done = run(*command, "--model", "/there/is/none", "--calibration", str(file), stdin="a\tb\n")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"fr-reranker: there is no calibration file {file}; make one with `fr-reranker calibrate`\n"
    Calibration(temperature=1.0).save(file)
    done = run(*command, "--model", "/there/is/none", "--calibration", str(file), "--raw-scores", stdin="a\tb\n")
    assert (done.code, done.out) == (2, "")
    assert "raw logits were asked for; leave out one of the two" in done.err


MANY = [labelled(f"question {place}", "un passage", place % 2) for place in range(6)]


@pytest.mark.parametrize(
    ("argv", "stdin", "reason"),
    [
        ([], "", "expected either a file with judged pairs or --collection, got both or neither"),
        (["-", "--collection", "."], "", "expected either a file with judged pairs or --collection"),
        (["-"], "", "expected judged pairs, got none"),
        (["-"], jsonl(*MANY[::2]), "expected relevant pairs and others, got 0 relevant ones of 3"),
        (["-"], jsonl(*MANY[:4]), "5 folds need as many queries, got 4"),
        (["-"], jsonl(MANY[0], labelled("q", "p", 2)), "line 2: expected an object with the strings 'query' and"),
        (["-"], jsonl(labelled("q", "p", "1")), "a 'label' of 0 or 1, found the label '1'"),
        (["-"], jsonl(labelled("q", "p", [])), "found the label []"),
        (["-"], jsonl({"query": "q", "passage": "p"}), "found no 'label'"),
        (["-"], jsonl(labelled("q", None, 1)), "found str and NoneType"),
        (["-"], jsonl([1]), "line 1: expected an object with the strings 'query' and 'passage', and a 'label' of"),
        (["-"], '{"query', "line 1: expected an object"),
        (["absent.jsonl"], "", "there is no file absent.jsonl"),
        (["-", "--output", "/there/is/none/c.json"], jsonl(*MANY), "--output must be a file in a folder that is there"),
        (
            ["-", "--output", "/"],
            jsonl(*MANY),
            "and can be written to, got /",
        ),
        (["--collection", "/there/is/none"], "", "there is no file /there/is/none/corpus.jsonl"),
        (["-", "--folds", "1"], jsonl(*MANY), "--folds"),
    ],
)
def test_what_cannot_be_fitted_is_refused_before_the_model_is_loaded(argv, stdin, reason, run) -> None:
    done = run("calibrate", "--model", "/there/is/none", *argv, stdin=stdin)
    assert (done.code, done.out) == (2, "")
    assert reason in " ".join(done.err.replace("│", " ").split())


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_model_is_loaded(
    tmp_path: Path, run, monkeypatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere
    done = run("calibrate", "-", "--model", "/there/is/none", "--output", str(tmp_path / "c.json"), stdin=jsonl(*MANY))
    assert (done.code, done.out) == (2, "")
    assert "can be written to" in done.err


def test_a_file_that_is_there_stays_if_the_fit_fails(tiny_model: str, tmp_path: Path, run) -> None:
    file = tmp_path / "calibration.json"
    Calibration(temperature=3.0).save(file)
    alike = [labelled(f"question {place // 2}", "un passage", place % 2) for place in range(12)]
    done = run("calibrate", "-", "--model", tiny_model, "--output", str(file), stdin=jsonl(*alike))
    assert (done.code, done.out) == (2, "")
    assert "relevant pairs do not have higher logits than the others" in done.err
    assert Calibration.load(file).temperature == 3.0
