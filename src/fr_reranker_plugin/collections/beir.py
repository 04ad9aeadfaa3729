"""Judged collections as BEIR keeps them: a folder with `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

from fr_reranker_plugin.collections.judged import Collection, Passage, Qrels
from fr_reranker_plugin.collections.lines import (
    malformed,
    numbered_lines,
    read_jsonl,
    split_columns,
    text_field,
    whole_characters,
    whole_number,
)
from fr_reranker_plugin.errors import CollectionError

_SAMPLE: Final = "sample_collection"
_QRELS_COLUMNS: Final = ("query-id", "corpus-id", "score")


def load_collection(folder: Path | str, split: str = "test") -> Collection:
    """Read a BEIR folder: `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv`.

    Only the queries that the split judges are kept.

    :raises CollectionError: If a file is missing or malformed (path, line, expected, found), or a judgement names an
        unknown query or passage.
    """
    folder = Path(folder)
    corpus = load_corpus(folder / "corpus.jsonl")
    texts = dict(iter_queries(folder / "queries.jsonl"))
    qrels = load_qrels(folder / "qrels" / f"{split}.tsv")
    for query_id, grades in qrels.items():
        if query_id not in texts:
            raise CollectionError(
                f"{folder}: qrels/{split}.tsv judges the query {query_id!r}, which is not in queries.jsonl"
            )
        unknown = grades.keys() - corpus.keys()
        if unknown:
            raise CollectionError(f"{folder}: qrels/{split}.tsv judges {min(unknown)!r}, which is not in corpus.jsonl")
    return Collection(corpus, {query_id: texts[query_id] for query_id in qrels}, qrels)


def sample_folder() -> Path:
    """Give the BEIR folder of the French sample collection: in an installed package, or in the repository's examples.

    :raises CollectionError: If it is in neither place.
    """
    package = Path(str(files("fr_reranker_plugin")))
    places = [package / _SAMPLE, package.parent.parent / "examples" / _SAMPLE]
    for place in places:
        if (place / "corpus.jsonl").is_file():
            return place
    looked = " and ".join(map(str, places))
    raise CollectionError(f"this installation has no sample collection (looked at {looked}); install the wheel again")


def load_corpus(path: Path) -> dict[str, Passage]:
    """Read a BEIR `corpus.jsonl`: objects with `_id`, `text` and, if there is one, `title`.

    :raises CollectionError: If the file is missing or malformed, or an id stands twice.
    """
    corpus: dict[str, Passage] = {}
    for number, identifier, passage in _numbered_corpus(path):
        if identifier in corpus:
            raise CollectionError(f"{path}, line {number}: the id {identifier!r} stands there twice")
        corpus[identifier] = passage
    return corpus


def iter_corpus(path: Path) -> Iterator[tuple[str, Passage]]:
    """Yield the id and the text of each passage of a `corpus.jsonl`, holding one at a time.

    :raises CollectionError: If the file is missing or malformed.
    """
    for _, identifier, passage in _numbered_corpus(path):
        yield identifier, passage


def iter_queries(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the id and the text of each query of a `queries.jsonl`.

    :raises CollectionError: If the file is missing or malformed.
    """
    for number, row in read_jsonl(path):
        yield text_field(row, "_id", path, number), text_field(row, "text", path, number)


def load_qrels(path: Path) -> Qrels:
    """Read BEIR judgements: tab-separated query id, passage id and whole-number grade, under a header line.

    :raises CollectionError: If the file is missing or malformed, or judges a passage twice.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, line in numbered_lines(path):
        query_id, passage_id, grade = split_columns(line, _QRELS_COLUMNS, path, number)
        if number == 1 and (query_id, passage_id, grade) == _QRELS_COLUMNS:
            continue
        grades = qrels.setdefault(query_id, {})
        if passage_id in grades:
            raise malformed(path, number, "one judgement of a passage", f"a second of {passage_id!r} for {query_id!r}")
        grades[passage_id] = whole_number(grade, "grade", path, number)
    return qrels


def _numbered_corpus(path: Path) -> Iterator[tuple[int, str, Passage]]:
    for number, row in read_jsonl(path):
        identifier = text_field(row, "_id", path, number)
        title = whole_characters(str(row.get("title") or ""), "title", path, number)
        yield number, identifier, Passage(title, text_field(row, "text", path, number))
