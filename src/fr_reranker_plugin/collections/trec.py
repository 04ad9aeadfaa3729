"""TREC's own files: judgements (qrels) and rankings (runs), as trec_eval reads them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from fr_reranker_plugin.collections.judged import Candidate, Qrels
from fr_reranker_plugin.collections.lines import malformed, numbered_lines, whole_number
from fr_reranker_plugin.errors import CollectionError

_QRELS_COLUMNS: Final = ("query", "iteration", "passage", "grade")
_RUN_COLUMNS: Final = ("query", "Q0", "passage", "rank", "score", "tag")


def load_trec_qrels(path: Path) -> Qrels:
    """Read TREC judgements: query, iteration (not used), passage and grade, with spaces or tabs between them.

    :raises CollectionError: If the file is missing or malformed, or judges a passage twice.
    """
    qrels: Qrels = {}
    for number, line in numbered_lines(path):
        query, _, passage, grade = _columns(line, _QRELS_COLUMNS, path, number)
        grades = qrels.setdefault(query, {})
        if passage in grades:
            raise malformed(path, number, "one judgement of a passage", f"a second of {passage!r} for {query!r}")
        grades[passage] = whole_number(grade, "grade", path, number)
    return qrels


def read_trec_run(path: Path) -> Iterator[Candidate]:
    """Yield the lines of a TREC run: query, `Q0`, passage, rank, score and tag. The score decides, as in trec_eval.

    :raises CollectionError: If the file is missing or malformed.
    """
    for number, line in numbered_lines(path):
        query, _, passage, _, score, _ = _columns(line, _RUN_COLUMNS, path, number)
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise malformed(path, number, "a finite number as the score", repr(score[:60]))
        yield Candidate(query, passage, value)


def write_trec_run(path: Path, rankings: Iterable[tuple[str, Sequence[tuple[str, float]]]], *, tag: str) -> None:
    """Write a TREC run, whole or not at all.

    :param rankings: Each query with its passages and scores, best first.
    :param tag: The name of the system, without spaces.
    :raises CollectionError: If an id has white space or is empty: the columns of a run stand between spaces.
    """
    temporary = path.with_name(f"{path.name}.new")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            for query, ranking in rankings:
                file.writelines(
                    f"{_one_column(query, path)} Q0 {_one_column(passage, path)} {rank} {score:.9g} {tag}\n"
                    for rank, (passage, score) in enumerate(ranking, start=1)
                )
            file.flush()
            os.fsync(file.fileno())
    except CollectionError:
        temporary.unlink()
        raise
    temporary.replace(path)


def _one_column(identifier: str, path: Path) -> str:
    if identifier.split() != [identifier]:
        raise CollectionError(
            f"{path} was not written: a TREC run has spaces between its columns, so its ids have none, but one is "
            f"{identifier!r}; give the collection other ids"
        )
    return identifier


def _columns(line: str, names: Sequence[str], path: Path, number: int) -> list[str]:
    columns = line.split()
    if len(columns) != len(names):
        raise malformed(path, number, f"{len(names)} columns ({', '.join(names)})", str(len(columns)))
    return columns
