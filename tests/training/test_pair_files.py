"""Pairs of any of the three kinds of file become one example for each query."""

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fr_reranker_plugin.errors import CollectionError
from fr_reranker_plugin.training.example_counts import ExampleCounts
from fr_reranker_plugin.training.examples import TrainingExample
from fr_reranker_plugin.training.pair_files import LabelledPair, pair_examples, read_pairs

PAIRS = [
    LabelledPair("Où porter plainte ?", "Au commissariat, « ou » à la gendarmerie.", 1.0),
    LabelledPair("Quel délai ?", 'Cinq jours, dit-on "partout".', 1.0),
    LabelledPair("Où porter plainte ?", "La plainte du vent.", 0.25),
]
CELL = st.text(st.characters(exclude_characters="\r\x00", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    str.strip
)


def written(path: Path, content: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content.encode()))
    else:
        path.write_text(content, encoding="utf-8", newline="")
    return path


def as_csv(rows: list[list[str]]) -> str:
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue()


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("kind", [".jsonl", ".tsv", ".csv", ".csv.gz", ".jsonl.gz"])
def test_every_kind_of_file_gives_the_same_examples(kind: str, header: bool, tmp_path: Path) -> None:
    rows = [[pair.query, pair.passage, str(pair.label)] for pair in PAIRS]
    named = [["query", "passage", "label"], *rows] if header else rows
    content = {
        ".jsonl": "".join(json.dumps(pair._asdict()) + "\n" for pair in PAIRS),
        ".tsv": "".join("\t".join(row) + "\n" for row in named),
        ".csv": as_csv(named),
    }[kind.removesuffix(".gz")]
    counts = ExampleCounts()
    assert list(pair_examples([written(tmp_path / f"pairs{kind}", content)], counts)) == [
        TrainingExample(PAIRS[0].query, (PAIRS[0].passage, PAIRS[2].passage), (1.0, 0.25)),
        TrainingExample(PAIRS[1].query, (PAIRS[1].passage,), (1.0,)),
    ]
    assert (counts.examples, counts.positives, counts.left_out.total()) == (2, 3, 0)


def test_the_first_line_of_a_table_may_order_the_columns(tmp_path: Path) -> None:
    path = written(tmp_path / "pairs.csv", "﻿Label,Passage,Query\r\n0,p,q\r\n")
    assert [pair for _, pair in read_pairs(path)] == [LabelledPair("q", "p", 0.0)]


@pytest.mark.parametrize("name", ["x.jsonl", "x.tsv", "x.csv"])
def test_without_a_label_a_passage_is_relevant(name: str, tmp_path: Path) -> None:
    content = {"x.jsonl": '{"query": "q", "passage": "p"}\n', "x.tsv": "q\tp\n", "x.csv": "q,p,\n"}[name]
    assert [pair for _, pair in read_pairs(written(tmp_path / name, content))] == [LabelledPair("q", "p", 1.0)]


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=4))
def test_csv_is_read_as_it_was_written_with_lines_in_cells(rows, tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = [(query.replace("\n\n", "\n"), passage.replace("\n\n", "\n")) for query, passage in rows]
    path = written(tmp_path_factory.mktemp("csv") / "x.csv", as_csv([["query", "passage"], *map(list, rows)]))
    read = [(pair.query.split(), pair.passage.split()) for _, pair in read_pairs(path)]
    assert read == [(query.split(), passage.split()) for query, passage in rows]


def test_a_pair_that_comes_again_is_taken_once_and_one_with_two_labels_is_refused(tmp_path: Path) -> None:
    first, again = written(tmp_path / "a.tsv", "q\tp\t1\n"), written(tmp_path / "b.tsv", "q\tp\t1\n\nq\tp\t0\n")
    counts = ExampleCounts()
    assert [example.passages for example in pair_examples([first, first], counts)] == [("p",)]
    assert counts.left_out == {"pairs that come again": 1}
    with pytest.raises(CollectionError, match=r"b.tsv, line 3: expected one label for a pair, found 0 after 1"):
        list(pair_examples([first, again], ExampleCounts()))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.txt", "q p", r"expected a file that ends in .jsonl, .ndjson, .tsv, .csv \(.gz\)"),
        ("x.jsonl", '{"query": "q"}', "line 1: expected text in 'passage', found None"),
        ("x.jsonl", '{"query": " ", "passage": "p"}', "line 1: expected text in 'query', found ' '"),
        ("x.jsonl", '{"query": "q", "passage": "p", "label": 2}', "line 1: expected a label from 0 to 1, found 2"),
        ("x.jsonl", '{"query": "q", "passage": "p", "label": []}', "a label from 0 to 1, found"),
        ("x.tsv", "q\tp\nq\n", "line 2: expected a query, a passage and perhaps a label .*, found 1 columns"),
        ("x.tsv", "q\tp\t1\tx\n", "found 4 columns"),
        ("x.tsv", "q\tp\tyes\n", "line 1: expected a label from 0 to 1, found 'yes'"),
        ("x.tsv", "q\tp\tnan\n", "expected a label from 0 to 1, found 'nan'"),
        ("x.csv", 'q,p\n"q,p\n', "line 2: expected a row of CSV"),
    ],
)
def test_a_bad_file_is_named_with_what_was_expected_and_found(name, content, reason, tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match=reason):
        list(read_pairs(written(tmp_path / name, content)))
