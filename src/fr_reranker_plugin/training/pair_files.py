"""Training examples from files of (query, passage) pairs: JSON lines, tab-separated or CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from fr_reranker_plugin.collections.lines import malformed, numbered_lines, read_jsonl, whole_characters
from fr_reranker_plugin.errors import CollectionError
from fr_reranker_plugin.training.example_counts import ExampleCounts
from fr_reranker_plugin.training.examples import TrainingExample

_JSON: Final = (".jsonl", ".ndjson")
_TABLES: Final = {".tsv": "\t", ".csv": ","}
_COLUMNS: Final = ("query", "passage", "label")
_EXPECTED: Final = "a query, a passage and perhaps a label"
_LONGEST_FIELD: Final = 1 << 27


class LabelledPair(NamedTuple):
    """A query, a passage, and how relevant it is, in [0, 1]."""

    query: str
    passage: str
    label: float


def pair_examples(paths: Sequence[Path], counts: ExampleCounts) -> Iterator[TrainingExample]:
    """Yield an example for each query, in the order in which queries first come: all its passages and their labels.

    All pairs are held. A pair that comes again is taken once.

    :param counts: Filled while examples are made.
    :raises CollectionError: If a file is missing, of a kind that is not known, or malformed, or if a pair comes again
        with another label.
    """
    labels: dict[str, dict[str, float]] = {}
    for path in paths:
        for number, pair in read_pairs(path):
            known = labels.setdefault(pair.query, {})
            if pair.passage not in known:
                known[pair.passage] = pair.label
            elif known[pair.passage] == pair.label:
                counts.left_out["pairs that come again"] += 1
            else:
                found = f"{pair.label:g} after {known[pair.passage]:g}"
                raise malformed(path, number, "one label for a pair", found)
    for query, passages in labels.items():
        example = TrainingExample(query, tuple(passages), tuple(passages.values()))
        counts.add(example)
        yield example


def read_pairs(path: Path) -> Iterator[tuple[int, LabelledPair]]:
    """Yield line number and pair of each line of a file, which may be packed as `.gz`.

    - `.jsonl`: objects with `query`, `passage` and, if there is one, `label`;
    - `.tsv`, `.csv`: two or three columns in this order, or in the order that a first line with their names gives.

    Without a label a passage is relevant: 1.

    :raises CollectionError: If the file is missing, of another kind or malformed.
    """
    kind = Path(path.stem).suffix.lower() if path.suffix == ".gz" else path.suffix.lower()
    if kind in _JSON:
        rows: Iterator[tuple[int, Mapping[str, Any]]] = read_jsonl(path)
    elif kind in _TABLES:
        rows = _table_rows(path, _TABLES[kind])
    else:
        raise CollectionError(f"{path}: expected a file that ends in {', '.join([*_JSON, *_TABLES])} (.gz)")
    for number, row in rows:
        yield number, _pair(row, path, number)


def _pair(row: Mapping[str, Any], path: Path, number: int) -> LabelledPair:
    for name in _COLUMNS[:2]:
        if not isinstance(row.get(name), str) or not row[name].strip():
            raise malformed(path, number, f"text in {name!r}", repr(row.get(name)))
        whole_characters(row[name], name, path, number)
    label = row.get("label")
    return LabelledPair(row["query"], row["passage"], 1.0 if label in (None, "") else _label(label, path, number))


def _label(value: Any, path: Path, number: int) -> float:  # noqa: ANN401 -- whatever the file holds
    try:
        label = float(value)
    except (TypeError, ValueError):
        label = -1.0
    if not 0 <= label <= 1:
        raise malformed(path, number, "a label from 0 to 1", repr(value))
    return label


def _table_rows(path: Path, separator: str) -> Iterator[tuple[int, dict[str, str]]]:
    names: Sequence[str] = _COLUMNS
    for place, (number, cells) in enumerate(_cells(path, separator)):
        if place == 0 and {"query", "passage"} <= {cell.strip().lower() for cell in cells}:
            names = [cell.strip().lower() for cell in cells]
            continue
        if not len(_COLUMNS) - 1 <= len(cells) <= len(names):
            raise malformed(path, number, f"{_EXPECTED} ({len(names)} columns at most)", f"{len(cells)} columns")
        yield number, dict(zip(names, cells, strict=False))


def _cells(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the last line and the cells of each row; quotes mean something in CSV only."""
    if separator == "\t":
        for number, line in numbered_lines(path):
            yield number, line.removeprefix("\ufeff").split("\t")
        return
    at = 0

    def lines() -> Iterable[str]:
        nonlocal at
        for at, line in numbered_lines(path):  # noqa: B007 -- the reader asks for lines when it needs them
            yield line.removeprefix("\ufeff") + "\n"

    csv.field_size_limit(_LONGEST_FIELD)
    try:
        for cells in csv.reader(lines(), strict=True):
            yield at, cells
    except csv.Error as error:
        raise malformed(path, at, "a row of CSV", str(error)) from None
