"""Documents in SQLite: found by id, by filter, and by the position of their vector."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import numpy as np

from fr_reranker_plugin.retrieval.connections import Connections
from fr_reranker_plugin.retrieval.documents import Row, StoredDocument
from fr_reranker_plugin.retrieval.filters import Filter, compile_filter, compile_values
from fr_reranker_plugin.retrieval.selection import Positions
from fr_reranker_plugin.retrieval.vectors import Vectors

_SCHEMA: Final = """
CREATE TABLE documents (
    sequence INTEGER PRIMARY KEY,  -- the order in which documents came
    id TEXT NOT NULL UNIQUE,
    position INTEGER UNIQUE,       -- of the vector; null for a document without one
    metadata TEXT NOT NULL,        -- canonical JSON, before the text so that filters need not read past it
    text TEXT NOT NULL
);
CREATE TABLE vectors (             -- the exact vectors, for kinds that keep compressed ones
    position INTEGER PRIMARY KEY,
    vector BLOB NOT NULL           -- float32, little-endian
);
"""
_COLUMNS: Final = "id, text, metadata"
_PARAMETERS_AT_ONCE: Final = 500

_Value = TypeVar("_Value", str, int)


class DocumentDatabase:
    """The documents of an index. Reading is safe from any number of threads; writing needs to be alone.

    :param connections: To a database with the tables above.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @classmethod
    def create(cls, path: Path | None) -> Self:
        """Start an empty database, in memory if `path` is `None`."""
        connections = Connections(path)
        with connections.one() as connection:
            connection.executescript(_SCHEMA)
        return cls(connections)

    @classmethod
    def open(cls, path: Path, *, immutable: bool) -> Self:
        """Open a database that `save` wrote.

        :raises IndexFolderError: If it is not one.
        """
        return cls(Connections(path, immutable=immutable))

    def count(self, filters: Filter | None = None) -> int:
        """Count the documents that match."""
        return int(self._select("count(*)", filters)[0][0])

    def ids(self, filters: Filter | None = None) -> list[str]:
        """Give the ids of the documents that match, in the order in which they came."""
        return [row[0] for row in self._select("id", filters, "ORDER BY sequence")]

    def positions(self, filters: Filter | None = None) -> Positions:
        """Give the positions of the vectors of the documents that match, ascending."""
        rows = self._select("position", filters, "AND position IS NOT NULL ORDER BY position")
        return np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))

    def page(self, filters: Filter | None, after: int, size: int) -> list[tuple[int, StoredDocument]]:
        """Give up to `size` matching documents that came after the one with the sequence number `after`."""
        rows = self._select(f"sequence, {_COLUMNS}", filters, "AND sequence > ? ORDER BY sequence LIMIT ?", after, size)
        return [(row[0], _document(*row[1:])) for row in rows]

    def get(self, ids: Sequence[str]) -> dict[str, StoredDocument]:
        """Give those of the documents that exist, by id."""
        return {row[0]: _document(*row) for row in self._rows(_COLUMNS, "id", ids)}

    def at(self, positions: Iterable[int]) -> dict[int, StoredDocument]:
        """Give the documents whose vectors stand at these positions."""
        rows = self._rows(f"position, {_COLUMNS}", "position", sorted(positions))
        return {row[0]: _document(*row[1:]) for row in rows}

    def places(self, ids: Sequence[str]) -> dict[str, int | None]:
        """Give the position of the vector of each document that exists, `None` for one without a vector."""
        return dict(self._rows("id, position", "id", ids))

    def metadata_values(self, key: str, filters: Filter | None) -> list[Any]:
        """Give the distinct values under a metadata key that are not null; `1`, `1.0`, `"1"` and `True` are four."""
        value, condition, parameters = compile_values(key, filters)
        statement = f"SELECT DISTINCT {value} FROM documents WHERE {condition} AND {value} <> 'null'"  # noqa: S608 -- as in `_select`
        with self._connections.one() as connection:
            return [json.loads(row[0]) for row in connection.execute(statement, parameters)]

    def metadata_types(self) -> dict[str, set[str]]:
        """Give the JSON types, as SQLite calls them, of the values under each metadata key."""
        types: dict[str, set[str]] = {}
        with self._connections.one() as connection:
            for key, kind in connection.execute("SELECT DISTINCT key, type FROM documents, json_each(metadata)"):
                types.setdefault(key, set()).add(kind)
        return types

    def write(self, rows: Iterable[Row], positions: Iterable[int | None]) -> None:
        """Add documents, or replace those with the same id, which keep their place in the order."""
        with self._connections.one() as connection:
            connection.executemany(
                "INSERT INTO documents (id, position, metadata, text) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
                "SET position = excluded.position, metadata = excluded.metadata, text = excluded.text",
                ((row.id, position, row.metadata, row.text) for row, position in zip(rows, positions, strict=True)),
            )

    def replace(self, rows: Iterable[Row]) -> int:
        """Replace text and metadata of documents whose id is known, and tell how many there were."""
        statement = "UPDATE documents SET metadata = :metadata, text = :text WHERE id = :id"
        with self._connections.one() as connection:
            return connection.executemany(statement, (row._asdict() for row in rows)).rowcount

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents and tell how many there were."""
        with self._connections.one() as connection:
            return connection.executemany("DELETE FROM documents WHERE id = ?", ((id_,) for id_ in ids)).rowcount

    def keep_vectors(self, first: int, vectors: Vectors) -> None:
        """Store the exact vectors of the positions from `first` on."""
        blobs = (vector.astype("<f4").tobytes() for vector in vectors)
        with self._connections.one() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO vectors (position, vector) VALUES (?, ?)", enumerate(blobs, first)
            )

    def kept_vectors(self, positions: Positions, dimension: int) -> Vectors:
        """Give the exact vectors at these positions, each of which `keep_vectors` stored."""
        vectors = np.zeros((len(positions), dimension), dtype=np.float32)
        row_of = {position: row for row, position in enumerate(positions.tolist())}
        with self._connections.one() as connection:
            for position, blob in _rows_with(connection, "vectors", "position, vector", "position", list(row_of)):
                vectors[row_of[position]] = np.frombuffer(blob, dtype="<f4")
        return vectors

    def renumber(self, kept: Positions) -> None:
        """Give the vectors at these positions, ascending, the positions 0, 1, ...; forget the others."""
        moves = [(new, old) for new, old in enumerate(kept.tolist()) if new != old]
        with self._connections.one() as connection:
            connection.execute(
                "DELETE FROM vectors WHERE position NOT IN (SELECT position FROM documents WHERE position IS NOT NULL)"
            )
            for table in ("documents", "vectors"):
                connection.executemany(f"UPDATE {table} SET position = ? WHERE position = ?", moves)  # noqa: S608

    def copy_to(self, path: Path) -> None:
        """Write everything into a new file, without gaps."""
        with self._connections.one() as connection:
            connection.execute("VACUUM INTO ?", (str(path),))

    def close(self) -> None:
        """Close the file; nothing may be reading."""
        self._connections.close()

    def _select(self, columns: str, filters: Filter | None, rest: str = "", *values: int) -> list[tuple[Any, ...]]:
        condition, parameters = compile_filter(filters)
        statement = f"SELECT {columns} FROM documents WHERE {condition} {rest}"  # noqa: S608 -- values are parameters
        with self._connections.one() as connection:
            return connection.execute(statement, [*parameters, *values]).fetchall()

    def _rows(self, columns: str, column: str, values: Sequence[_Value]) -> Iterator[tuple[Any, ...]]:
        with self._connections.one() as connection:
            yield from _rows_with(connection, "documents", columns, column, values)


def _rows_with(
    connection: sqlite3.Connection, table: str, columns: str, column: str, values: Sequence[_Value]
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows in which a column has one of many values."""
    for some in _chunks(values):
        marks = ", ".join("?" * len(some))
        yield from connection.execute(f"SELECT {columns} FROM {table} WHERE {column} IN ({marks})", some)  # noqa: S608 -- parameters


def _document(id_: str, text: str, metadata: str) -> StoredDocument:
    return StoredDocument(id_, text, json.loads(metadata))


def _chunks(values: Sequence[_Value]) -> Iterator[list[_Value]]:
    remaining = iter(values)
    while some := list(islice(remaining, _PARAMETERS_AT_ONCE)):
        yield some
