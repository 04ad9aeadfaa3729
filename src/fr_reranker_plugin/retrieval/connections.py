"""A few SQLite connections that threads take turns with."""

from __future__ import annotations

import queue
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from fr_reranker_plugin.errors import IndexFolderError, MissingDependencyError
from fr_reranker_plugin.retrieval.filter_functions import FilterFunctions

_OLDEST_SQLITE: Final = (3, 38)
_CONNECTIONS_PER_FILE: Final = 4
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_NO_ROOM: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_MAIN_CODE: Final = 0xFF
_NO_WAITING_FOR_THE_DISK: Final = "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY;"
"""A working copy is worthless after a crash, so it is not protected against one; a failed statement is undone."""


class _Link(NamedTuple):
    connection: sqlite3.Connection
    functions: FilterFunctions


class Connections:
    """Connections to one database, all open from the start: its file may be removed by a newer generation meanwhile.

    :param path: The file; `None` is a database in memory, with a single connection.
    :param immutable: The file is never written again by anyone: read it without locks.
    :raises MissingDependencyError: If this Python has too old an SQLite.
    :raises IndexFolderError: If the file cannot be opened.
    """

    def __init__(self, path: Path | None, *, immutable: bool = False) -> None:
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            oldest = ".".join(map(str, _OLDEST_SQLITE))
            raise MissingDependencyError(
                f"an index needs SQLite {oldest} or newer, this Python has {sqlite3.sqlite_version}; use a newer Python"
            )
        self._path = path
        self._links: list[_Link] = []
        self._free: queue.LifoQueue[_Link] = queue.LifoQueue()
        try:
            for _ in range(1 if path is None else _CONNECTIONS_PER_FILE):
                self._links.append(_connect(path, immutable=immutable))
        except sqlite3.Error as error:
            self.close()
            raise IndexFolderError(f"{path} cannot be opened as a database: {error}") from error
        for link in self._links:
            self._free.put(link)

    @contextmanager
    def one(self) -> Iterator[sqlite3.Connection]:
        """Wait for a connection and hold it; a transaction that is open at the end is committed, or undone.

        :raises FilterError: If a filter compared what has no order.
        :raises IndexFolderError: If the file is damaged, or the disk is full.
        """
        link = self._free.get()
        try:
            with link.functions.explained(), link.connection:
                yield link.connection
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & _MAIN_CODE
            if code not in (*_DAMAGED, *_NO_ROOM):
                raise
            place = self._path or "the database in memory"
            trouble = f"{place} is damaged" if code in _DAMAGED else f"{place} cannot be read or written, is there room"
            raise IndexFolderError(f"{trouble}: {error}") from error
        finally:
            self._free.put(link)

    def close(self) -> None:
        """Close them; none may be in use."""
        for link in self._links:
            link.connection.close()


def _connect(path: Path | None, *, immutable: bool) -> _Link:
    if path is None:
        name = ":memory:"
    else:
        name = f"file:{quote(str(path.absolute()))}?{'immutable=1&mode=ro' if immutable else 'mode=rwc'}"
    connection = sqlite3.connect(name, uri=path is not None, check_same_thread=False)
    try:
        if not immutable:
            connection.executescript(_NO_WAITING_FOR_THE_DISK)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return _Link(connection, FilterFunctions(connection))
    except sqlite3.Error:
        connection.close()
        raise
