"""Text files read line by line, compressed or not, with errors that name path and line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO, cast

from fr_reranker_plugin.errors import CollectionError

_SHOWN: Final = 60
"""Characters of a bad line that an error shows."""


def check_file(path: Path) -> None:
    """Refuse what cannot be read more than once.

    :raises CollectionError: If there is nothing, or a folder or a pipe.
    """
    if not path.exists():
        raise CollectionError(f"there is no file {path}")
    if not path.is_file():
        raise CollectionError(f"{path} is a folder or a pipe; expected a file, because it is read more than once")


@contextmanager
def whole_gzip(path: Path) -> Iterator[None]:
    """Explain a packed file that cannot be unpacked.

    :raises CollectionError: If it is damaged, cut off, or not packed at all.
    """
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CollectionError(f"{path}: expected a whole gzip file ({error})") from None


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the text of each line that is not empty; a `.gz` file is unpacked on the way.

    A byte-order mark at the start, as programs on Windows write it, is no part of the first line.

    :raises CollectionError: If the file is missing, is not UTF-8, or is not the gzip file that its name says.
    """
    try:
        with whole_gzip(path), _opened(path) as lines:
            for number, line in enumerate(lines, start=1):
                if stripped := line.rstrip("\r\n"):
                    yield number, stripped
    except FileNotFoundError:
        raise CollectionError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise CollectionError(f"{path} is a folder; expected a file") from None
    except UnicodeDecodeError as error:
        raise CollectionError(f"{path}: expected UTF-8, found {error.reason} at byte {error.start}") from None


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line number and the object of each line that is not blank.

    :raises CollectionError: If a line is not a JSON object.
    """
    for number, line in numbered_lines(path):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise malformed(path, number, "a JSON object", f"{line[:_SHOWN]!r} ({error})") from None
        if not isinstance(row, dict):
            raise malformed(path, number, "a JSON object", type(row).__name__)
        yield number, row


def split_columns(line: str, names: Sequence[str], path: Path, number: int) -> list[str]:
    """Split a line at its tabs.

    :raises CollectionError: If there are not as many columns as `names`.
    """
    columns = line.split("\t")
    if len(columns) != len(names):
        expected = f"{len(names)} columns with tabs between them ({', '.join(names)})"
        raise malformed(path, number, expected, str(len(columns)))
    return columns


def text_field(row: Mapping[str, Any], name: str, path: Path, number: int) -> str:
    """Give a field of a JSON object.

    :raises CollectionError: If it is missing, not a string, or no text that UTF-8 has bytes for.
    """
    value = row.get(name)
    if not isinstance(value, str):
        raise malformed(path, number, f"a string in {name!r}", type(value).__name__)
    return whole_characters(value, name, path, number)


def whole_characters(text: str, name: str, path: Path, number: int) -> str:
    """Give the text of a field.

    :raises CollectionError: If UTF-8 has no bytes for it.
    """
    if (place := half_character(text)) is not None:
        raise malformed(path, number, f"whole characters in {name!r}", f"half of one at position {place}")
    return text


def half_character(text: str) -> int | None:
    """Give the place of half a character, which JSON can name and no file in UTF-8 can hold: a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def whole_number(text: str, what: str, path: Path, number: int) -> int:
    """Read a whole number.

    :raises CollectionError: If `text` is not one.
    """
    try:
        return int(text)
    except ValueError:
        raise malformed(path, number, f"a whole-number {what}", repr(text[:_SHOWN])) from None


def malformed(path: Path, number: int, expected: str, found: str) -> CollectionError:
    """Give the error for a line that is not as it should be."""
    return CollectionError(f"{path}, line {number}: expected {expected}, found {found}")


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return cast("TextIO", gzip.open(path, "rt", encoding="utf-8-sig"))
    return path.open(encoding="utf-8-sig")
