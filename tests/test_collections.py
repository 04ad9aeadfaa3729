"""BEIR folders are read whole, or refused with the place and the reason."""

import json
from pathlib import Path

import pytest

from fr_reranker_plugin import CollectionError
from fr_reranker_plugin.collections import Passage, load_collection, load_corpus, load_qrels, read_jsonl

REPOSITORY = Path(__file__).parents[1]
HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A collection of two passages and two queries, one of them judged."""
    write_lines(tmp_path / "corpus.jsonl", [{"_id": "p1", "title": "Été", "text": "Chaud."}, {"_id": "p2", "text": ""}])
    write_lines(tmp_path / "queries.jsonl", [{"_id": "q1", "text": "Quand ?"}, {"_id": "q2", "text": "Où ?"}])
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text(f"{HEADER}q1\tp1\t2\nq1\tp2\t0\n", encoding="utf-8")
    return tmp_path


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def test_a_folder_is_read_with_the_queries_that_are_judged(folder: Path) -> None:
    collection = load_collection(folder)
    assert collection.corpus == {"p1": Passage("Été", "Chaud."), "p2": Passage("", "")}
    assert collection.queries == {"q1": "Quand ?"}
    assert collection.qrels == {"q1": {"p1": 2, "p2": 0}}


def test_the_full_text_has_the_title_on_a_line_of_its_own() -> None:
    assert Passage("Été", "Chaud.").full_text == "Été\nChaud."
    assert Passage("", "Chaud.").full_text == "Chaud."


def test_the_sample_collection_holds_what_it_promises() -> None:
    sample = load_collection(REPOSITORY / "examples" / "sample_collection")
    assert len(sample.corpus) >= 300
    assert len(sample.queries) >= 60
    assert all(max(grades.values()) > 0 for grades in sample.qrels.values())


def test_other_separators_than_newlines_do_not_end_a_line(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"_id": "a", "text": "un\u2028deux"}\r\n\n{"_id": "b", "text": "trois"}', encoding="utf-8")
    assert [(number, row["text"]) for number, row in read_jsonl(path)] == [(1, "un\u2028deux"), (3, "trois")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"_id": "p3"}', r"line 3: expected a string in 'text', found NoneType"),
        ('{"_id": 3, "text": "x"}', r"line 3: expected a string in '_id', found int"),
        ('{"_id": "p1", "text": "x"}', r"line 3: the id 'p1' stands there twice"),
        ('{"_id": "p3", ', r"line 3: expected a JSON object, found '\{\"_id\": \"p3\", '"),
        ('["p3"]', r"line 3: expected a JSON object, found list"),
        (
            '{"_id": "p3", "text": "a\\ud83d"}',
            r"line 3: expected whole characters in 'text', found half of one at position 1",
        ),
        ('{"_id": "p3", "title": "\\ude00", "text": "x"}', r"line 3: expected whole characters in 'title'"),
    ],
    ids=["no text", "id of another type", "id twice", "broken", "list", "half a character", "half in the title"],
)
def test_a_broken_passage_is_refused_with_its_line(line: str, reason: str, folder: Path) -> None:
    path = folder / "corpus.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(CollectionError, match=reason):
        load_corpus(path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("q1\tp1", r"line 2: expected 3 columns with tabs between them \(query-id, corpus-id, score\), found 2"),
        ("q1\tp1\tbon", r"line 2: expected a whole-number grade, found 'bon'"),
    ],
)
def test_a_broken_judgement_is_refused_with_its_line(line: str, reason: str, folder: Path) -> None:
    path = folder / "qrels" / "test.tsv"
    path.write_text(HEADER + line, encoding="utf-8")
    with pytest.raises(CollectionError, match=reason):
        load_qrels(path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("q9\tp1\t1", r"judges the query 'q9', which is not in queries\.jsonl"),
        ("q1\tp9\t1", r"judges 'p9', which is not in corpus\.jsonl"),
    ],
)
def test_a_judgement_of_something_unknown_is_refused(line: str, reason: str, folder: Path) -> None:
    (folder / "qrels" / "test.tsv").write_text(HEADER + line, encoding="utf-8")
    with pytest.raises(CollectionError, match=reason):
        load_collection(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "queries.jsonl").unlink()
    with pytest.raises(CollectionError, match=r"there is no file .*queries\.jsonl"):
        load_collection(folder)


def test_a_file_that_is_not_utf8_says_so(folder: Path) -> None:
    (folder / "corpus.jsonl").write_bytes('{"_id": "a", "text": "été"}'.encode("latin-1"))
    with pytest.raises(CollectionError, match="expected UTF-8, found"):
        load_corpus(folder / "corpus.jsonl")
