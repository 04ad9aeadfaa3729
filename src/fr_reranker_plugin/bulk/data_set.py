"""Data sets of queries with their passages: JSON lines or Parquet, one file or a folder of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, cast

from fr_reranker_plugin.collections.lines import whole_gzip
from fr_reranker_plugin.collections.opening import files_fingerprint
from fr_reranker_plugin.collections.written_passages import InputPassage, Refuse, id_of, passage_of
from fr_reranker_plugin.errors import CollectionError, MissingDependencyError

Form = Literal["jsonl", "parquet"]

_SUFFIXES: Final[Mapping[str, Form]] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".jsonl.gz": "jsonl", ".parquet": "parquet"
}  # fmt: skip
_COLUMNS: Final = ("query", "passages")
_EXPECTED_ROW: Final = "an object with the string 'query' and the list 'passages'"
_READ_AT_ONCE: Final = 256
_SHOWN: Final = 60


class Row(NamedTuple):
    """A query and its passages, with the file and the line (of Parquet: the row, from 1) where they stand."""

    file: str
    number: int
    id: str | int | None
    query: str
    passages: list[InputPassage]


class BadRow(NamedTuple):
    """A row that cannot be read, and the sentence that says why."""

    file: str
    number: int
    error: str


class DataSet:
    """Queries with their passages, read row by row, in the order of the files.

    :param path: A file that ends in `.jsonl` (or `.ndjson`, `.jsonl.gz`) or `.parquet`, or a folder with such files of
        one kind.
    :raises CollectionError: If there is no such file, or a folder has none or both kinds.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.files: Final = [path] if path.is_file() else _files_of(path)
        forms = {_form_of(file) for file in self.files}
        if len(forms) > 1:
            raise CollectionError(f"{path}: expected files of one kind, found JSON lines and Parquet")
        self.form: Final[Form] = forms.pop()

    def fingerprint(self) -> str:
        """Give the checksum of the contents of all files."""
        return files_fingerprint(self.files)

    def rows(self) -> Iterator[Row | BadRow]:
        """Yield every row; one that is malformed does not end the reading.

        :raises CollectionError: If a file as a whole cannot be read, or a Parquet file has other columns.
        :raises MissingDependencyError: If there is Parquet to read, and no pyarrow.
        """
        for file in self.files:
            lines = _json_values(file) if self.form == "jsonl" else _parquet_values(file)
            for number, value in lines:
                yield _row(value, file, number, unit="line" if self.form == "jsonl" else "row")


def _row(value: Callable[[], Any], file: Path, number: int, *, unit: str) -> Row | BadRow:
    def refuse(expected: str, found: str) -> CollectionError:
        return CollectionError(f"{file}, {unit} {number}: expected {expected}, found {found}")

    try:
        return _checked(value(), file.name, number, refuse)
    except CollectionError as error:
        return BadRow(file.name, number, str(error))
    except (ValueError, RecursionError) as error:
        return BadRow(file.name, number, str(refuse(_EXPECTED_ROW, f"what is no JSON in UTF-8 ({error})")))


def _checked(value: Any, name: str, number: int, refuse: Refuse) -> Row:  # noqa: ANN401 -- JSON is anything
    if not isinstance(value, dict):
        raise refuse(_EXPECTED_ROW, type(value).__name__)
    query, passages = (value.get(column) for column in _COLUMNS)
    if not isinstance(query, str):
        raise refuse("a string in 'query'", type(query).__name__ if "query" in value else "none")
    if not query.strip():
        raise refuse("a query with text", f"{query[:_SHOWN]!r}")
    if not isinstance(passages, list):
        raise refuse("a list in 'passages'", type(passages).__name__ if "passages" in value else "none")
    return Row(
        name, number, id_of(value), query, [_passage(item, place, refuse) for place, item in enumerate(passages)]
    )


def _passage(item: Any, place: int, refuse: Refuse) -> InputPassage:  # noqa: ANN401 -- as above
    return passage_of(item, lambda expected, found: refuse(f"{expected} as passage {place}", found))


def _json_values(file: Path) -> Iterator[tuple[int, Callable[[], Any]]]:
    """Yield the number of each line that is not blank, and what reads it.

    Bytes, because a line that is not UTF-8 is one bad row, and not the end of the file.
    """
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with whole_gzip(file), opened(file, "rb") as lines:
            for number, line in enumerate(cast("Iterable[bytes]", lines), start=1):
                if line.strip():
                    yield number, partial(_json_value, line)
    except OSError as error:
        raise CollectionError(f"{file} cannot be read: {error.strerror}") from error


def _json_value(line: bytes) -> Any:  # noqa: ANN401 -- as above
    value = json.loads(line.decode("utf-8-sig"))
    if b"\\ud" in line.lower():  # half a character can be escaped, but neither be read by a model nor be written
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _as_it_is(value: Any) -> Any:  # noqa: ANN401 -- as above
    return value


def _parquet_values(file: Path) -> Iterator[tuple[int, Callable[[], Any]]]:
    pyarrow, parquet = arrow()
    try:
        with parquet.ParquetFile(file) as opened:
            known = opened.schema_arrow.names
            missing = [name for name in _COLUMNS if name not in known]
            if missing:
                raise CollectionError(f"{file}: expected the columns 'query' and 'passages', found {', '.join(known)}")
            columns = [name for name in (*_COLUMNS, "_id", "id") if name in known]
            number = 0
            for batch in opened.iter_batches(_READ_AT_ONCE, columns=columns):
                for value in batch.to_pylist():
                    number += 1
                    yield number, partial(_as_it_is, value)
    except (pyarrow.ArrowException, OSError) as error:
        raise CollectionError(f"{file}: expected a Parquet file that can be read ({str(error)[:200]})") from error


def arrow() -> tuple[Any, Any]:
    """Give the modules that read and write Parquet.

    :raises MissingDependencyError: If pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependencyError("Parquet needs pyarrow: pip install 'fr-reranker-plugin[ray]'") from error
    return pyarrow, parquet


def _files_of(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise CollectionError(f"there is no file or folder {folder}")
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name.endswith(tuple(_SUFFIXES))]
    if not files:
        raise CollectionError(f"{folder}: expected files that end in {', '.join(_SUFFIXES)}, found none")
    return files


def _form_of(file: Path) -> Form:
    for suffix, form in _SUFFIXES.items():
        if file.name.endswith(suffix):
            return form
    raise CollectionError(f"{file}: expected a file that ends in {', '.join(_SUFFIXES)}")
