"""Where an evaluation keeps its candidates and logits: an SQLite file that survives a kill and bounds the memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from fr_reranker_plugin.collections import Candidate, JudgedCollection, Passage
from fr_reranker_plugin.errors import CollectionError, SettingsError
from fr_reranker_plugin.retrieval.encoding_stream import in_blocks

_FORMAT: Final = "2"
_WRITTEN_AT_ONCE: Final = 10_000
_ASKED_AT_ONCE: Final = 500
"""Ids in one SQL statement; old versions of SQLite allow 999."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS queries (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS passages (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, text TEXT);
CREATE TABLE IF NOT EXISTS stages (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, source TEXT NOT NULL, ordered INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS models (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS rankings (
    stage INTEGER, query INTEGER, place INTEGER, passage INTEGER NOT NULL, score REAL,
    PRIMARY KEY (stage, query, place)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS logits (
    model INTEGER, query INTEGER, passage INTEGER, logit REAL NOT NULL, truncated INTEGER NOT NULL,
    PRIMARY KEY (model, query, passage)) WITHOUT ROWID;
CREATE TEMP TABLE IF NOT EXISTS incoming (number INTEGER PRIMARY KEY, query INTEGER, passage INTEGER, score REAL);
"""
_ADD_CANDIDATE: Final = """
INSERT INTO incoming (query, passage, score) SELECT q.number, p.number, ? FROM queries q, passages p
WHERE q.id = ? AND p.id = ?"""
_TWICE: Final = """
SELECT q.id, p.id FROM incoming i JOIN queries q ON q.number = i.query JOIN passages p ON p.number = i.passage
GROUP BY i.query, i.passage HAVING COUNT(*) > 1 LIMIT 1"""
_RANK: Final = """
INSERT INTO rankings SELECT ?, query, place, passage, score FROM (
    SELECT query, passage, score, ROW_NUMBER() OVER (PARTITION BY query ORDER BY score DESC, number) - 1 AS place
    FROM incoming)"""
_RANKING: Final = """
SELECT p.id, r.score FROM rankings r JOIN passages p ON p.number = r.passage
WHERE r.stage = (SELECT number FROM stages WHERE name = ?) AND r.query = (SELECT number FROM queries WHERE id = ?)
ORDER BY r.place"""
_LOGITS: Final = """
SELECT p.id, l.logit FROM logits l JOIN passages p ON p.number = l.passage
WHERE l.model = (SELECT number FROM models WHERE name = ?) AND l.query = (SELECT number FROM queries WHERE id = ?)"""
_WITHOUT_TEXT: Final = "SELECT id, 0 FROM passages WHERE text IS NULL LIMIT 1"
_DROP_WITHOUT_TEXT: Final = (
    """DELETE FROM stages WHERE number IN (
        SELECT r.stage FROM rankings r JOIN passages p ON p.number = r.passage WHERE p.text IS NULL)""",
    "DELETE FROM rankings WHERE stage NOT IN (SELECT number FROM stages)",
    "DELETE FROM passages WHERE text IS NULL",
)
_ADD_LOGIT: Final = """
INSERT INTO logits SELECT m.number, q.number, p.number, ?, ? FROM models m, queries q, passages p
WHERE m.name = ? AND q.id = ? AND p.id = ?"""
_COUNT: Final = """
SELECT COUNT(*), COALESCE(SUM(truncated), 0) FROM logits WHERE model = (SELECT number FROM models WHERE name = ?)"""


class Ranked(NamedTuple):
    """A candidate as its first stage gave it; `score` is `None` where that did not tell one."""

    passage: str
    score: float | None


class Judged(NamedTuple):
    """What a model said of a passage; `truncated` tells whether it read all of the pair."""

    query: str
    passage: str
    logit: float
    truncated: bool


class Counted(NamedTuple):
    """How many pairs were scored, and how many of them were cut to the model's length."""

    pairs: int
    truncated: int


class EvaluationDatabase:
    """Candidates, their texts and their logits, of one collection. What was committed is never computed again.

    :param path: The file; made if there is none.
    :param collection: Whose queries it holds.
    :raises SettingsError: If the file is of another collection, or of another version.
    """

    def __init__(self, path: Path, collection: JudgedCollection) -> None:
        self._path = path
        self._collection = collection
        self._connection = sqlite3.connect(path, isolation_level=None)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def has_stage(self, stage: str, source: str) -> bool:
        """Tell whether the candidates of a first stage are there, and come from the same source."""
        return bool(self._rows("SELECT 1 FROM stages WHERE name = ? AND source = ?", stage, source))

    def is_ordered(self, stage: str) -> bool:
        """Tell whether a first stage ranked its candidates."""
        return self._rows("SELECT ordered FROM stages WHERE name = ?", stage) == [(1,)]

    def add_stage(self, stage: str, candidates: Iterable[Candidate], source: str) -> None:
        """Keep the candidates of a first stage, in any order: all of them, or none if something is wrong.

        Candidates of the same stage from another source give way; what models said of them stays. Those of queries that
        nobody judged are left out. Within a query higher scores come first, equal and missing ones in the order in
        which they come.

        :raises CollectionError: If a passage stands twice among the candidates of a query.
        """
        with self._transaction():
            self._run("DELETE FROM incoming")
            self._run("DELETE FROM rankings WHERE stage = (SELECT number FROM stages WHERE name = ?)", stage)
            self._run("DELETE FROM stages WHERE name = ?", stage)
            for some in in_blocks((c for c in candidates if c.query in self._collection.queries), _WRITTEN_AT_ONCE):
                self._many("INSERT OR IGNORE INTO passages (id) VALUES (?)", ((c.passage,) for c in some))
                self._many(_ADD_CANDIDATE, ((c.score, c.query, c.passage) for c in some))
            if twice := self._rows(_TWICE):
                query, passage = twice[0]
                raise CollectionError(
                    f"{stage}: the passage {passage!r} stands twice among the candidates of {query!r}"
                )
            ordered = not self._rows("SELECT 1 FROM incoming WHERE score IS NULL LIMIT 1")
            self._run("INSERT INTO stages (name, source, ordered) VALUES (?, ?, ?)", stage, source, int(ordered))
            self._run(_RANK, self._rows("SELECT number FROM stages WHERE name = ?", stage)[0][0])
            self._run("DELETE FROM incoming")

    def add_passages(self, ids: Iterable[str]) -> None:
        """Note that the texts of these passages are wanted too."""
        with self._transaction():
            self._many("INSERT OR IGNORE INTO passages (id) VALUES (?)", ((one,) for one in ids))

    def fill_texts(self, passages: Iterable[tuple[str, Passage]]) -> None:
        """Keep the texts of the passages that are wanted; nothing is read where all are there.

        :raises CollectionError: If one is not among `passages`; the stages that have it among their candidates are
            forgotten, so that others can be added.
        """
        if not self._rows(_WITHOUT_TEXT):
            return
        with self._transaction():
            for some in in_blocks(passages, _WRITTEN_AT_ONCE):
                fill = "UPDATE passages SET text = ? WHERE id = ? AND text IS NULL"
                self._many(fill, ((passage.full_text, identifier) for identifier, passage in some))
            if missing := self._rows(_WITHOUT_TEXT):
                for statement in _DROP_WITHOUT_TEXT:
                    self._run(statement)
        if missing:
            raise CollectionError(
                f"{self._collection.name}: {missing[0][0]!r} is a candidate or judged relevant, but there is no such "
                "passage"
            )

    def ranking(self, stage: str, query: str) -> list[Ranked]:
        """Give the candidates of a query, best first as far as the first stage ranked them."""
        return [Ranked(*row) for row in self._rows(_RANKING, stage, query)]

    def logits(self, model: str, query: str) -> dict[str, float]:
        """Give the logits of a query's passages that a model has scored."""
        return dict(self._rows(_LOGITS, model, query))

    def texts(self, ids: Sequence[str]) -> list[str]:
        """Give the texts of passages, in the order of `ids`."""
        found: dict[str, str] = {}
        for some in in_blocks(ids, _ASKED_AT_ONCE):
            marks = ", ".join("?" * len(some))
            found.update(self._rows(f"SELECT id, text FROM passages WHERE id IN ({marks})", *some))  # noqa: S608 -- marks
        return [found[one] for one in ids]

    def record(self, model: str, judged: Iterable[Judged]) -> None:
        """Keep what a model said, all of it at once."""
        with self._transaction():
            self._run("INSERT OR IGNORE INTO models (name) VALUES (?)", model)
            rows = ((one.logit, int(one.truncated), model, one.query, one.passage) for one in judged)
            self._many(_ADD_LOGIT, rows)

    def count(self, model: str) -> Counted:
        """Count the pairs that a model has scored, and those it read cut."""
        return Counted(*self._rows(_COUNT, model)[0])

    def _prepare(self) -> None:
        self._run("PRAGMA journal_mode = WAL")
        self._run("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_TABLES)
        known = dict(self._rows("SELECT name, value FROM facts"))
        facts = {"format": _FORMAT, "collection": self._collection.fingerprint}
        if known and known != facts:
            raise SettingsError(
                f"{self._path} holds an evaluation of another collection, of other judgements, or by another version; "
                "name another folder, or remove it"
            )
        with self._transaction():
            self._many("INSERT OR IGNORE INTO facts VALUES (?, ?)", facts.items())
            self._many("INSERT OR IGNORE INTO queries (id) VALUES (?)", ((one,) for one in self._collection.queries))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._run("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._run("ROLLBACK")
            raise
        self._run("COMMIT")

    def _run(self, statement: str, *values: object) -> None:
        self._connection.execute(statement, values)

    def _many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._connection.executemany(statement, rows)

    def _rows(self, statement: str, *values: object) -> list[Any]:
        return self._connection.execute(statement, values).fetchall()
