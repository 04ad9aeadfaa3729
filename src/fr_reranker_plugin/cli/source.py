"""Reading what the user names: a file, or standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from fr_reranker_plugin.cli.printing import note
from fr_reranker_plugin.errors import CollectionError

STANDARD_INPUT: Final = "-"

_SHOWN: Final = 60


class Source(NamedTuple):
    """A text, and the name that error messages call it by."""

    name: str
    text: str

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield the number and the text of each line that is not blank.

        Only newlines end a line: French text may hold other separators, such as U+2028.
        """
        for number, line in enumerate(self.text.split("\n"), start=1):
            if line.strip():
                yield number, line.removesuffix("\r")

    def json_lines(self, *, expected: str) -> Iterator[tuple[int, Any]]:
        """Yield the number and the JSON value of each line that is not blank.

        :raises CollectionError: If a line is not JSON.
        """
        for number, line in self.lines():
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise self.error(number, expected, f"{line[:_SHOWN]!r} ({error})") from None
            yield number, value

    def error(self, number: int, expected: str, found: str, *, unit: str = "line") -> CollectionError:
        """Make the error for a line (or another unit) of this source."""
        return CollectionError(f"{self.name}, {unit} {number}: expected {expected}, found {found}")


def read_source(argument: str) -> Source:
    """Read a file, or standard input for `-`, as UTF-8.

    :raises CollectionError: If it is not there, cannot be read, or is not UTF-8.
    """
    if argument == STANDARD_INPUT:
        if sys.stdin.isatty():
            note("reading standard input; Ctrl-D ends it")
        return Source("<stdin>", _decoded("<stdin>", sys.stdin.buffer.read()))
    with readable(argument):
        return Source(argument, _decoded(argument, Path(argument).read_bytes()))


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn what the operating system says about a file into our error."""
    try:
        yield
    except FileNotFoundError:
        raise CollectionError(f"there is no file {name}") from None
    except OSError as error:
        raise CollectionError(f"{name} cannot be read: {error.strerror}") from error


def _decoded(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"the byte 0x{content[error.start]:02x}; save the file as UTF-8"
        raise CollectionError(f"{name}, line {line}: expected UTF-8, found {found}") from None
