"""Training examples: a query, passages and how relevant each is; and the one file format that holds them."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Self, TextIO, cast

from fr_reranker_plugin.collections.lines import half_character, malformed, read_jsonl
from fr_reranker_plugin.errors import SettingsError

_PACKED: Final = ".gz"
_PACKED_LEVEL: Final = 6
_PART: Final = ".part"
_FIELDS: Final = ("query", "passages", "labels", "scores")


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """A query with one passage or several, and the relevance of each.

    :param query: Must have text, in whole characters.
    :param passages: One or more, each with such text.
    :param labels: The relevance of each passage, in [0, 1].
    :param scores: What a teacher said of each passage, as logits or cosines; `None` without a teacher.
    :raises SettingsError: If a value is not allowed, or the lengths differ.
    """

    query: str
    passages: tuple[str, ...]
    labels: tuple[float, ...]
    scores: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        _check_text("a query", self.query)
        if not self.passages:
            raise SettingsError("expected at least one passage, got none")
        for passage in self.passages:
            _check_text("passages", passage)
        _check_numbers("labels", self.labels, len(self.passages))
        if outside := [label for label in self.labels if not 0 <= label <= 1]:
            raise SettingsError(f"expected labels from 0 to 1, got {outside[0]!r}")
        if self.scores is not None:
            _check_numbers("scores", self.scores, len(self.passages))

    @property
    def positives(self) -> tuple[str, ...]:
        """The passages whose label is above 0."""
        return tuple(passage for passage, label in zip(self.passages, self.labels, strict=True) if label > 0)

    @property
    def negatives(self) -> tuple[str, ...]:
        """The passages whose label is 0."""
        return tuple(passage for passage, label in zip(self.passages, self.labels, strict=True) if label == 0)

    def with_negatives(self, negatives: Sequence[str], scores: Sequence[float] | None = None) -> Self:
        """Give the same example with more passages of label 0 behind its own.

        :param scores: What a teacher says of all passages, its own first; `None`: the result has no scores.
        """
        passages, labels = (*self.passages, *negatives), (*self.labels, *[0.0] * len(negatives))
        return type(self)(self.query, passages, labels, None if scores is None else tuple(scores))

    def to_dict(self) -> dict[str, Any]:
        """Give what a line of a file holds."""
        row: dict[str, Any] = {"query": self.query, "passages": self.passages, "labels": self.labels}
        return row if self.scores is None else {**row, "scores": self.scores}

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Self:
        """Read what `to_dict` gives.

        :raises SettingsError: If a field is missing, unknown or not as it should be.
        """
        if unknown := row.keys() - set(_FIELDS):
            raise SettingsError(f"expected the fields {', '.join(map(repr, _FIELDS))}, got {min(unknown)!r}")
        lists = {name: row.get(name) for name in _FIELDS[1:] if name != "scores" or row.get(name) is not None}
        for name, value in lists.items():
            if not isinstance(value, list):
                raise SettingsError(f"expected a list in {name!r}, got {type(value).__name__}")
        found = {name: tuple(cast("list[Any]", value)) for name, value in lists.items()}
        return cls(row.get("query", ""), found["passages"], found["labels"], found.get("scores"))


def read_examples(paths: Path | Iterable[Path]) -> Iterator[TrainingExample]:
    """Yield the examples of files in order, holding one at a time.

    Each line of a file, which may be packed as `.gz`, is an object:
    `{"query": str, "passages": [str, …], "labels": [0…1, …], "scores": [number, …]}`, `scores` being optional.

    :raises CollectionError: If a file is missing, or a line is not such an object: names path, line and what is wrong.
    """
    for path in [paths] if isinstance(paths, Path) else paths:
        for number, row in read_jsonl(path):
            try:
                yield TrainingExample.from_dict(row)
            except SettingsError as error:
                expected, _, found = str(error).removeprefix("expected ").partition(", got ")
                raise malformed(path, number, expected, found) from None


def write_examples(path: Path, examples: Iterable[TrainingExample], *, force: bool = False) -> int:
    """Write examples into a file, packed if its name ends in `.gz`, and tell how many there were.

    The file is there whole or not at all; meanwhile it is called `<name>.part`. Equal examples make equal files.

    :param force: Replace a file that is there.
    :raises SettingsError: If the file is there already, or its folder is not.
    """
    count = 0
    with replacing(path, force=force) as write:
        for example in examples:
            write(json.dumps(example.to_dict(), ensure_ascii=False) + "\n")
            count += 1
    return count


def check_output(path: Path, *, force: bool) -> None:
    """Refuse a place that cannot be written to, before the work begins.

    :raises SettingsError: Then.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise SettingsError(f"expected a file in a folder that is there, got {path}")
    if path.exists() and not force:
        raise SettingsError(f"{path} is there already; choose another name, or replace it with force (--force)")


@contextmanager
def replacing(path: Path, *, force: bool) -> Iterator[Callable[[str], object]]:
    """Give what writes text into a file that appears when the block ends well, and not at all if it does not."""
    check_output(path, force=force)
    part = path.with_name(f"{path.name}{_PART}")
    try:
        with part.open("wb") as raw, _text(raw, packed=path.suffix == _PACKED) as file:
            yield file.write
        with part.open("r+b") as written:
            os.fsync(written.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


@contextmanager
def _text(raw: BinaryIO, *, packed: bool) -> Iterator[TextIO]:
    # without a name and a time, equal contents give equal files
    target = gzip.GzipFile("", "wb", _PACKED_LEVEL, raw, mtime=0) if packed else raw
    with io.TextIOWrapper(target, encoding="utf-8", newline="\n") as file:
        yield file


def _check_text(what: str, text: object) -> None:
    if not isinstance(text, str) or not text.strip():
        raise SettingsError(f"expected {what} with text, got {text!r}")
    if (place := half_character(text)) is not None:
        raise SettingsError(f"expected {what} in whole characters, got half of one at position {place}")


def _check_numbers(name: str, values: Sequence[object], count: int) -> None:
    if len(values) != count:
        raise SettingsError(f"expected as many {name} as passages ({count}), got {len(values)}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise SettingsError(f"expected finite numbers in {name!r}, got {value!r}")
