"""Texts of a large tab-separated file by their ids, without holding them."""

from __future__ import annotations

from array import array
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from fr_reranker_plugin.collections.lines import malformed
from fr_reranker_plugin.errors import CollectionError
from fr_reranker_plugin.evaluation.progress import ShowProgress

_EXPECTED: Final = "a whole-number id, a tab and a text"
_DIGITS: Final = 19
"""An id of fewer digits fits into 64 bits."""

_LINES_BETWEEN_MOVES: Final = 100_000


class TextTable:
    """The texts of a file with an id, a tab and a text on each line, as `collection.tsv` and `queries.*.tsv` have them.

    Each text is read from the file when it is asked for: 16 bytes a line are in memory, 141 MB for 8.8 million.

    :param path: Not packed, because it is read at any place.
    :param show: Shows the progress of the one pass over the file that finds its lines.
    :raises CollectionError: If the file is missing or packed, a line has another form, or an id stands twice.
    """

    def __init__(self, path: Path, show: ShowProgress) -> None:
        self.path = path
        if path.suffix == ".gz":
            raise CollectionError(f"{path}: expected a plain file, since it is read at any place; unpack it (gunzip)")
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise CollectionError(f"{path} cannot be read: {error.strerror}") from None
        try:
            self._ids, self._offsets = _find_lines(path, show)
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        return len(self._ids)

    def get(self, identifier: int) -> str | None:
        """Give a text, or `None` if there is no such id.

        :raises CollectionError: If it is not UTF-8.
        """
        place = int(np.searchsorted(self._ids, identifier))
        if place == len(self._ids) or self._ids[place] != identifier:
            return None
        self._file.seek(int(self._offsets[place]))
        text = self._file.readline().rstrip(b"\r\n").partition(b"\t")[2]
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CollectionError(
                f"{self.path}, id {identifier}: expected UTF-8, found {error.reason} at byte {error.start}"
            ) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _find_lines(path: Path, show: ShowProgress) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Give the ids in ascending order, and where the line of each begins."""
    ids, offsets = array("q"), array("q")
    place = 0
    with path.open("rb") as file, show(f"finding lines of {path.name}", None) as advance:
        for number, line in enumerate(file, start=1):
            if line.strip():
                ids.append(_checked_id(line, path, number))
                offsets.append(place)
            place += len(line)
            if number % _LINES_BETWEEN_MOVES == 0:
                advance(_LINES_BETWEEN_MOVES)
    return _sorted(np.frombuffer(ids, dtype=np.int64), np.frombuffer(offsets, dtype=np.int64), path)


def _checked_id(line: bytes, path: Path, number: int) -> int:
    identifier, tab, text = line.partition(b"\t")
    if tab and b"\t" not in text and identifier.isdigit() and len(identifier) < _DIGITS:
        return int(identifier)
    raise malformed(path, number, _EXPECTED, repr(line[:60].rstrip(b"\r\n").decode("utf-8", "replace")))


def _sorted(
    ids: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], path: Path
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    if len(ids) > 1 and not (ids[1:] > ids[:-1]).all():
        order = np.argsort(ids, kind="stable")
        ids, offsets = ids[order], offsets[order]
        twice = np.flatnonzero(ids[1:] == ids[:-1])
        if len(twice):
            raise CollectionError(f"{path}: expected each id once, found {ids[twice[0]]} twice")
    return ids, offsets
