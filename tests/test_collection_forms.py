"""Collections and candidates are the same in whichever published form they come."""

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import small_collections as small
from fr_reranker_plugin import CollectionError
from fr_reranker_plugin.collections import open_collection, open_files, read_trec_run, write_trec_run
from fr_reranker_plugin.collections.candidate_lists import read_candidates
from fr_reranker_plugin.collections.lines import numbered_lines
from fr_reranker_plugin.collections.opening import read_passages, read_qrels, read_queries

PAIRS = {(query, passage) for query in small.QUERIES for passage in small.candidates(query)}
QRELS = {query: dict.fromkeys(some, 1) for query, some in small.POSITIVES.items()}
WRITERS = {
    "JSONL lists": small.write_pool_lists,
    "top1000": small.write_top1000,
    "TREC run": small.write_trec_run,
    "MS MARCO run": small.write_ms_marco_run,
}


@pytest.mark.parametrize("form", WRITERS)
def test_candidates_are_recognised_by_their_first_line(form: str, tmp_path: Path) -> None:
    found = list(read_candidates(WRITERS[form](tmp_path / "candidates")))
    assert {(one.query, one.passage) for one in found} == PAIRS
    assert all((one.score is None) == (form in ("JSONL lists", "top1000")) for one in found)


def test_judgements_of_beir_and_trec_are_told_apart(tmp_path: Path) -> None:
    assert read_qrels(small.write_beir(tmp_path) / "qrels" / "test.tsv") == QRELS
    assert read_qrels(small.write_trec_qrels(tmp_path / "qrels.txt")) == QRELS


def test_a_collection_of_single_files_is_that_of_the_folder(tmp_path: Path) -> None:
    folder = open_collection(str(small.write_beir(tmp_path / "beir")))
    files = open_files(
        corpus=small.write_collection_tsv(tmp_path / "collection.tsv"),
        queries=small.write_queries_tsv(tmp_path / "queries.tsv"),
        qrels=small.write_trec_qrels(tmp_path / "qrels.txt"),
        name="files",
    )
    assert files.queries == folder.queries == small.QUERIES
    assert files.qrels == folder.qrels == QRELS
    assert dict(files.passages()) == dict(folder.passages())
    assert files.fingerprint != folder.fingerprint


def test_a_top1000_list_brings_questions_and_passages_along(tmp_path: Path) -> None:
    lists = small.write_top1000(tmp_path / "top1000.tsv")
    qrels = small.write_trec_qrels(tmp_path / "qrels.txt")
    collection = open_files(corpus=None, queries=None, qrels=qrels, candidates=lists, name="top")
    assert collection.queries == small.QUERIES
    assert {one: passage.text for one, passage in collection.passages()}.items() <= small.PASSAGES.items()


def test_jsonl_lists_bring_the_judgements_along(tmp_path: Path) -> None:
    lists = small.write_pool_lists(tmp_path / "lists.jsonl")
    corpus, queries = small.write_collection_tsv(tmp_path / "c.tsv"), small.write_queries_tsv(tmp_path / "q.tsv")
    assert open_files(corpus=corpus, queries=queries, qrels=None, candidates=lists, name="lists").qrels == QRELS


def test_compressed_files_are_read(tmp_path: Path) -> None:
    folder = small.write_beir(tmp_path)
    plain = (folder / "corpus.jsonl").read_bytes()
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(plain))
    assert len(dict(open_collection(str(folder)).passages())) == len(small.PASSAGES)


READERS = {
    "JSONL lists": (small.write_pool_lists, read_candidates),
    "top1000": (small.write_top1000, read_candidates),
    "TREC run": (small.write_trec_run, read_candidates),
    "MS MARCO run": (small.write_ms_marco_run, read_candidates),
    "judgements": (small.write_trec_qrels, lambda path: read_qrels(path).items()),
    "queries": (small.write_queries_tsv, read_queries),
    "passages": (small.write_collection_tsv, lambda path: read_passages(path)()),
}


@pytest.mark.parametrize("form", READERS)
def test_a_byte_order_mark_is_no_part_of_the_first_line(form: str, tmp_path: Path) -> None:
    write, read = READERS[form]
    plain = write(tmp_path / "plain")
    marked = plain.read_text(encoding="utf-8").encode("utf-8-sig")
    (tmp_path / "marked").write_bytes(marked)
    (tmp_path / "marked.gz").write_bytes(gzip.compress(marked))
    for name in ("marked", "marked.gz"):
        assert list(read(tmp_path / name)) == list(read(plain))


def test_whichever_byte_of_a_compressed_file_is_damaged_it_is_read_whole_or_refused(tmp_path: Path) -> None:
    whole = gzip.compress(small.write_collection_tsv(tmp_path / "plain").read_bytes(), mtime=0)
    expected, refused = list(numbered_lines(tmp_path / "plain")), 0
    for place in range(len(whole)):
        damaged = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        (tmp_path / "damaged.gz").write_bytes(damaged)
        try:
            assert list(numbered_lines(tmp_path / "damaged.gz")) == expected
        except CollectionError:
            refused += 1
    assert refused > len(whole) / 2


def test_a_sample_of_the_questions_is_the_same_each_time(tmp_path: Path) -> None:
    collection = open_collection(str(small.write_beir(tmp_path)))
    some = collection.sample(3, seed=1)
    assert some.queries == collection.sample(3, seed=1).queries != collection.sample(3, seed=2).queries
    assert some.qrels.keys() == some.queries.keys()
    assert some.fingerprint != collection.fingerprint
    assert collection.sample(100) is collection


def test_what_is_written_as_a_run_is_read_again(tmp_path: Path) -> None:
    write_trec_run(tmp_path / "run", [("q1", [("b", 2.5), ("a", 1.0)]), ("q2", [("a", 0.1)])], tag="mine")
    assert list(read_trec_run(tmp_path / "run")) == [("q1", "b", 2.5), ("q1", "a", 1.0), ("q2", "a", 0.1)]


@pytest.mark.parametrize("odd", ["q 1", "q\t1", "q\u00a01", " q", "q\n", ""])
@pytest.mark.parametrize("place", ["query", "passage"])
def test_an_id_that_is_no_column_of_a_run_is_named_and_leaves_the_earlier_run(
    odd: str, place: str, tmp_path: Path
) -> None:
    write_trec_run(tmp_path / "run", [("q1", [("a", 1.0)])], tag="mine")
    rankings = [("q1", [("b", 2.0)]), (odd, [("a", 1.0)]) if place == "query" else ("q2", [(odd, 1.0)])]
    with pytest.raises(CollectionError, match=f"run was not written: .* but one is {re.escape(repr(odd))}"):
        write_trec_run(tmp_path / "run", rankings, tag="mine")
    assert list(read_trec_run(tmp_path / "run")) == [("q1", "a", 1.0)]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1 2 3", r"line 1: expected a TREC run, an MS MARCO run, a top1000 list or JSONL"),
        ("q Q0 p 1 bon tag", r"line 1: expected a finite number as the score, found 'bon'"),
        ("q Q0 p 1 nan tag", r"line 1: expected a finite number as the score, found 'nan'"),
        ("1\t2\t1\t17.5", r"line 1: expected a top1000 list .* or a run of .*, found four with numbers"),
        ("1\t2\tdeux", r"line 1: expected a whole-number rank, found 'deux'"),
        ('{"qid": 1, "pos": [1]}', r"line 1: expected a list of passage ids in 'neg', found NoneType"),
        ('{"qid": true, "pos": [], "neg": []}', r"line 1: expected a string or whole number as 'qid', found bool"),
        ('{"qid": 1, "pos": [[]], "neg": []}', r"line 1: expected a string or whole number as a passage id in 'pos'"),
        ("", "is empty; expected candidates"),
    ],
)
def test_broken_candidates_are_refused_with_their_line(line: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match=reason):
        list(read_candidates(small.write_lines(tmp_path / "candidates", [line] if line else [])))


def test_a_ranking_with_scores_brings_no_questions_along(tmp_path: Path) -> None:
    lines = [f"{query}\t{one}\t{rank}\t{20 - rank}" for query in small.QUERIES for rank, one in enumerate("123", 1)]
    ranking, qrels = small.write_lines(tmp_path / "ranking.tsv", lines), small.write_trec_qrels(tmp_path / "qrels")
    with pytest.raises(CollectionError, match="leave out the fourth column"):
        open_files(corpus=None, queries=None, qrels=qrels, candidates=ranking, name="x")


def test_a_number_as_a_question_or_as_a_passage_is_text(tmp_path: Path) -> None:
    for line in ("1\t2\t1789\tLa Révolution", "1\t2\tEn quelle année ?\t1789"):
        assert list(read_candidates(small.write_lines(tmp_path / "top1000.tsv", [line]))) == [("1", "2", None)]


def test_a_judgement_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = small.write_lines(tmp_path / "qrels", ["q 0 p 1", "q 0 p 0"])
    with pytest.raises(CollectionError, match=r"line 2: expected one judgement of a passage, found a second of 'p'"):
        read_qrels(path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    run = small.write_trec_run(tmp_path / "run")
    qrels = small.write_trec_qrels(tmp_path / "qrels")
    with pytest.raises(CollectionError, match="there are no judgements; give a qrels file"):
        open_files(corpus=None, queries=None, qrels=None, candidates=run, name="x")
    with pytest.raises(CollectionError, match="there are no texts of queries"):
        open_files(corpus=None, queries=None, qrels=qrels, candidates=run, name="x")
    with pytest.raises(CollectionError, match="there are no texts of passages"):
        open_files(corpus=None, queries=small.write_queries_tsv(tmp_path / "q"), qrels=qrels, name="x")
    with pytest.raises(CollectionError, match="there is no folder"):
        open_collection("./nowhere")
    with pytest.raises(CollectionError, match="the query '300' is judged, but has no text"):
        open_files(corpus=run, queries=small.write_lines(tmp_path / "one", ["1\tseule"]), qrels=qrels, name="x")


IN_A_CACHE = """
from fr_reranker_plugin.collections import open_collection
found = open_collection("mmarco/fr/dev/small")
print(len(found.queries), len(found.qrels), len(list(found.passages())), len(list(found.candidates())))
assert found.candidates is not None and next(iter(found.candidates())).score is not None
"""


def test_ir_datasets_reads_its_own_cache_without_a_network(tmp_path: Path) -> None:
    home = tmp_path / "mmarco"
    small.write_collection_tsv(home / "french_collection.tsv")
    small.write_queries_tsv(home / "french_queries.dev.tsv")
    small.write_trec_qrels(home / "qrels.dev.small.tsv")
    small.write_trec_run(home / "run.bm25_french-trec.txt")
    done = subprocess.run(
        [sys.executable, "-c", IN_A_CACHE],
        env={**os.environ, "IR_DATASETS_HOME": str(tmp_path), "HTTPS_PROXY": "http://127.0.0.1:9"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["8", "8", "60", str(len(PAIRS))]


def test_an_unknown_name_is_no_collection_of_ir_datasets() -> None:
    with pytest.raises(CollectionError, match="ir_datasets has no collection 'mmarco/xx'"):
        open_collection("mmarco/xx")
