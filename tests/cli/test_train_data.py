"""`fr-reranker train-data` writes example files, says what came of it, and refuses what it cannot use."""

import json
import os
from pathlib import Path

import pytest

from fr_reranker_plugin.training.examples import TrainingExample, read_examples, write_examples
from small_mmarco import write_mmarco

pytestmark = pytest.mark.usefixtures("no_model_left")

TEXTS = [
    "Une plainte se dépose au commissariat ou à la gendarmerie.",
    "La plainte du vent dans les pins.",
    "Porter plainte en ligne est possible pour une escroquerie.",
    "Le parc ferme à 20 h.",
    "Déposer un dossier à la mairie.",
    "La gendarmerie recrute des volontaires.",
]


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """Two questions, whose passages are the corpus."""
    path = tmp_path / "examples.jsonl"
    asked = [TrainingExample("Où porter plainte ?", (TEXTS[0],), (1.0,)),
             TrainingExample("Quand ferme le parc ?", tuple(TEXTS[3:0:-1]), (1.0, 0.0, 0.0)),
             TrainingExample("Que faire à la mairie ?", (TEXTS[4], TEXTS[5]), (1.0, 0.0))]  # fmt: skip
    write_examples(path, asked)
    return path


def test_mmarco_draws_pairs_of_a_folder(tmp_path: Path, run) -> None:
    out = tmp_path / "pairs.jsonl.gz"
    argv = ["train-data", "mmarco", "--folder", str(write_mmarco(tmp_path / "files")), "--out", str(out)]
    done = run(*argv, "--examples", "40", "--systems", "dense")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"examples in {out}: 40 with 20 positive and 20 negative passages\n"
    assert len(list(read_examples(out))) == 40
    grouped = run(*argv, "--examples", "40", "--grouped", "--negatives-per-positive", "3", "--force", "--json").json
    assert grouped == {"examples": 10, "pairs": 40, "positives": 10, "negatives": 30, "left_out": {}, "passes": 1,
                       "out": str(out)}  # fmt: skip
    assert {len(example.passages) for example in read_examples(out)} == {4}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "pairs.jsonl.gz"]


def test_mmarco_says_when_no_margin_can_be_kept(tmp_path: Path, run) -> None:
    folder = write_mmarco(tmp_path)
    next(folder.glob("*scores.pkl.gz")).unlink()
    done = run("train-data", "mmarco", "--folder", str(folder), "--examples", "4", "--out", str(tmp_path / "x.jsonl"))
    assert done.code == 0
    assert "no scores of a cross-encoder, so --margin cannot be kept" in done.err


def test_beir_and_pairs_make_examples(tmp_path: Path, run) -> None:
    out, table = tmp_path / "x.jsonl", tmp_path / "pairs.csv"
    done = run("train-data", "beir", "sample", "--split", "test", "--out", str(out), "--json")
    assert (done.code, done.json["examples"], done.json["positives"]) == (0, 67, 143)
    table.write_text("query,passage\nq,p\nq,p\n", encoding="utf-8")
    done = run("train-data", "pairs", str(table), "--out", str(out), "--force")
    assert done.out == f"examples in {out}: 1 with 1 positive and 0 negative passages\n"
    assert done.err == "fr-reranker: pairs that come again: 1\n"


@pytest.mark.parametrize("stage", ["dense", "bm25", "hybrid", "bm25,dense"])
def test_mine_adds_passages_of_the_examples_themselves(stage: str, examples: Path, tmp_path: Path, run) -> None:
    out = tmp_path / "mined.jsonl"
    argv = ["train-data", "mine", str(examples), "--out", str(out), "--first-stage", stage, "--rank-from", "1"]
    done = run(*argv, "--negatives", "2")
    assert done.code == 0, done.err
    before, after = list(read_examples(examples)), list(read_examples(out))
    assert [one.query for one in after] == [one.query for one in before]
    assert all(one.passages[: len(old.passages)] == old.passages for old, one in zip(before, after, strict=True))
    assert set(after[0].negatives) <= set(TEXTS[1:])
    assert after[0].negatives
    assert run(*argv, "--negatives", "2", "--force").code == 0
    assert list(read_examples(out)) == after


def test_mine_looks_in_a_corpus_or_an_index(examples: Path, tmp_path: Path, run) -> None:
    corpus, index, out = tmp_path / "corpus.jsonl", tmp_path / "index", tmp_path / "mined.jsonl"
    corpus.write_text("".join(json.dumps({"_id": str(n), "text": f"plainte numéro {n}"}) + "\n" for n in range(9)))
    assert run("index", str(index), str(corpus)).code == 0
    for place in (["--corpus", str(corpus)], ["--index", str(index)]):
        done = run("train-data", "mine", str(examples), "--out", str(out), *place, "--margin", "0.01", "--force")
        assert done.code == 0, done.err
        added = [text for one in read_examples(out) for text in one.negatives if text not in TEXTS]
        assert added
        assert all(text.startswith("plainte numéro") for text in added)


def test_mine_takes_no_piece_of_a_long_answer(tmp_path: Path, run) -> None:
    answer = " ".join(f"Pour porter plainte, on va au guichet numéro {n} avec la pièce {n}." for n in range(60))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "guide.md").write_text(f"# Plainte\n{answer}\n# Vent\nIl se plaint dans les pins.\n")
    asked, out = tmp_path / "pairs.jsonl", tmp_path / "mined.jsonl"
    write_examples(asked, [TrainingExample("Où porter plainte ?", (answer,), (1.0,))])
    argv = ["train-data", "mine", str(asked), "--out", str(out), "--corpus", str(tmp_path / "docs"),
            "--first-stage", "bm25", "--rank-from", "1", "--force"]  # fmt: skip
    for words in ("120", "40"):
        assert run(*argv, "--passage-words", words).code == 0
        [made] = read_examples(out)
        assert made.negatives == ("Vent\nIl se plaint dans les pins.",)


def test_a_teacher_writes_its_logits_beside_all_passages(examples: Path, tiny_model: str, tmp_path: Path, run) -> None:
    from fr_reranker_plugin import ModelSettings, shared_scorer

    out = tmp_path / "taught.jsonl"
    argv = ["train-data", "mine", str(examples), "--out", str(out), "--teacher", tiny_model, "--device", "cpu"]
    assert run(*argv, "--negatives", "0").code == 0
    scorer = shared_scorer(ModelSettings(model=tiny_model, device="cpu"))
    for before, after in zip(read_examples(examples), read_examples(out), strict=True):
        assert after.passages == before.passages
        logits = scorer.score([(after.query, text) for text in after.passages])
        assert after.scores == pytest.approx(tuple(logits), abs=1e-4)
    scorer.close()
    done = run(*argv, "--first-stage", "bm25", "--rank-from", "1", "--margin", "0", "--force")
    assert done.code == 0, done.err
    for example in read_examples(out):
        said = dict(zip(example.passages, example.scores, strict=True))
        own = {text for before in read_examples(examples) if before.query == example.query for text in before.passages}
        lowest = min(said[text] for text in example.positives)
        assert all(said[text] <= lowest for text in example.negatives if text not in own)


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["mmarco", "--folder", "."], "data/google/collections/french_collection.tsv there"),
        (["mmarco", "--folder", ".", "--examples", "0"], "Invalid value for '--examples'"),
        (["beir", "/there/is/none"], "there is no folder '/there/is/none'"),
        (["beir", "sample", "--split", "train"], "qrels/train.tsv"),
        (["pairs", "absent.csv"], "there is no file absent.csv"),
        (["mine", "absent.jsonl"], "there is no file absent.jsonl"),
        (["mine", "x", "--first-stage", "colbert"], "expected first stages among dense, bm25, hybrid, got colbert"),
        (["mine", "x", "--rank-to", "2"], "rank_to must be >= 5, but got 2"),
        (["mine", "x", "--corpus", "c", "--index", "i"], "name --corpus or --index, not both"),
        (["mine", "x", "--negatives", "0"], "--negatives 0 adds nothing"),
        (["mine", "x", "--first-stage", "bm25", "--margin", "1"], "--margin needs scores"),
    ],
)
def test_what_cannot_be_done_is_refused(argv: list[str], reason: str, tmp_path: Path, run) -> None:
    done = run("train-data", *argv, "--out", str(tmp_path / "out.jsonl"))
    assert (done.code, done.out) == (2, "")
    assert reason in " ".join(done.err.replace("│", " ").split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["mmarco"], ["beir", "sample"], ["pairs", "x.csv"], ["mine", "x.jsonl"]])
def test_a_file_that_is_there_is_not_replaced(command: list[str], tmp_path: Path, run) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("mine", encoding="utf-8")
    done = run("train-data", *command, "--out", str(out))
    assert (done.code, done.out) == (2, "")
    assert "is there already" in done.err
    assert out.read_text(encoding="utf-8") == "mine"


def test_mine_refuses_what_cannot_be_read_twice(examples: Path, tmp_path: Path, run) -> None:
    reading, writing = os.pipe()
    os.write(writing, examples.read_bytes())
    os.close(writing)
    out = tmp_path / "mined.jsonl"
    done = run("train-data", "mine", f"/dev/fd/{reading}", "--out", str(out), "--first-stage", "bm25")
    os.close(reading)
    assert (done.code, done.out) == (2, "")
    assert "is a folder or a pipe; expected a file" in done.err
    assert not out.exists()


def test_half_a_character_is_refused_with_its_line(tmp_path: Path, run) -> None:
    table = tmp_path / "pairs.jsonl"
    table.write_text(json.dumps({"query": "q", "passage": "coupé \ud83d"}), encoding="utf-8")
    done = run("train-data", "pairs", str(table), "--out", str(tmp_path / "out.jsonl"))
    assert (done.code, done.out) == (2, "")
    assert "line 1: expected whole characters in 'passage', found half of one at position 6" in done.err


def test_nothing_is_left_of_what_fails_in_the_middle(tmp_path: Path, run) -> None:
    bad, out = tmp_path / "bad.jsonl", tmp_path / "out.jsonl"
    good = json.dumps({"query": "q", "passages": ["p"], "labels": [1]})
    bad.write_text(f"{good}\n{{}}\n", encoding="utf-8")
    done = run("train-data", "mine", str(bad), "--out", str(out), "--first-stage", "bm25")
    assert (done.code, done.out) == (2, "")
    assert "bad.jsonl, line 2: expected" in done.err
    assert list(tmp_path.iterdir()) == [bad]
