"""Judged collections on disk: BEIR folders, read and checked line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple

from fr_reranker_plugin.errors import CollectionError

_SAMPLE: Final = "sample_collection"
_QRELS_COLUMNS: Final = ("query-id", "corpus-id", "score")


class Passage(NamedTuple):
    """One document of a collection; `title` may be empty."""

    title: str
    text: str

    @property
    def full_text(self) -> str:
        """Title and text as one string, the title on a line of its own: what the models read."""
        return f"{self.title}\n{self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True)
class Collection:
    """Passages, queries and judgements, each by its id; `qrels[query][passage]` is a grade of 0 or more."""

    corpus: Mapping[str, Passage]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]


def load_collection(folder: Path | str, split: str = "test") -> Collection:
    """Read a BEIR folder: `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv`.

    Only the queries that the split judges are kept.

    :raises CollectionError: If a file is missing or malformed (path, line, expected, found), or a judgement names an
        unknown query or passage.
    """
    folder = Path(folder)
    corpus = load_corpus(folder / "corpus.jsonl")
    texts = dict(_load_queries(folder / "queries.jsonl"))
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
    for number, row in read_jsonl(path):
        identifier = _text_field(row, "_id", path, number)
        if identifier in corpus:
            raise CollectionError(f"{path}, line {number}: the id {identifier!r} stands there twice")
        corpus[identifier] = Passage(str(row.get("title") or ""), _text_field(row, "text", path, number))
    return corpus


def load_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read BEIR judgements: tab-separated query id, passage id and whole-number grade, under a header line.

    :raises CollectionError: If the file is missing or malformed.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, line in _lines(path):
        columns = line.split("\t")
        if len(columns) != len(_QRELS_COLUMNS):
            raise CollectionError(
                f"{path}, line {number}: expected the tab-separated columns {', '.join(_QRELS_COLUMNS)}; "
                f"found {len(columns)} columns"
            )
        if number == 1 and tuple(columns) == _QRELS_COLUMNS:
            continue
        query_id, passage_id, grade = columns
        try:
            qrels.setdefault(query_id, {})[passage_id] = int(grade)
        except ValueError:
            raise CollectionError(f"{path}, line {number}: expected a whole-number grade, found {grade!r}") from None
    return qrels


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line number and the object of each line that is not blank.

    :raises CollectionError: If a line is not a JSON object.
    """
    for number, line in _lines(path):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise CollectionError(
                f"{path}, line {number}: expected a JSON object, found {line[:60]!r} ({error})"
            ) from None
        if not isinstance(row, dict):
            raise CollectionError(f"{path}, line {number}: expected a JSON object, found {type(row).__name__}")
        yield number, row


def _load_queries(path: Path) -> Iterator[tuple[str, str]]:
    for number, row in read_jsonl(path):
        yield _text_field(row, "_id", path, number), _text_field(row, "text", path, number)


def _text_field(row: Mapping[str, Any], name: str, path: Path, number: int) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise CollectionError(f"{path}, line {number}: expected a string in {name!r}, found {type(value).__name__}")
    return value


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if stripped := line.rstrip("\r\n"):
                    yield number, stripped
    except FileNotFoundError:
        raise CollectionError(f"there is no file {path}") from None
    except UnicodeDecodeError as error:
        raise CollectionError(f"{path}: expected UTF-8, found {error.reason} at byte {error.start}") from None
