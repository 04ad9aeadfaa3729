"""MS MARCO's own files, in which mMARCO comes: tab-separated passages, queries, runs and `top1000` lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fr_reranker_plugin.collections.judged import Candidate, Passage
from fr_reranker_plugin.collections.lines import numbered_lines, split_columns, whole_number

_TEXT_COLUMNS: Final = ("id", "text")
_RUN_COLUMNS: Final = ("query id", "passage id", "rank")
_TOP_COLUMNS: Final = ("query id", "passage id", "query", "passage")


def iter_tsv_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield id and text of each line, as in `collection.tsv` and `queries.*.tsv`.

    :raises CollectionError: If the file is missing or malformed.
    """
    for number, line in numbered_lines(path):
        identifier, text = split_columns(line, _TEXT_COLUMNS, path, number)
        yield identifier, text


def iter_tsv_passages(path: Path) -> Iterator[tuple[str, Passage]]:
    """Yield the passages of a `collection.tsv`, holding one at a time; they have no titles."""
    for identifier, text in iter_tsv_texts(path):
        yield identifier, Passage("", text)


def read_ms_marco_run(path: Path) -> Iterator[Candidate]:
    """Yield the lines of an MS MARCO run: query id, passage id and rank, from 1. The score is minus the rank.

    :raises CollectionError: If the file is missing or malformed.
    """
    for number, line in numbered_lines(path):
        query, passage, rank = split_columns(line, _RUN_COLUMNS, path, number)
        yield Candidate(query, passage, -float(whole_number(rank, "rank", path, number)))


def read_top1000(path: Path) -> Iterator[Candidate]:
    """Yield the lines of a `top1000.tsv`, whose order within a query means nothing.

    :raises CollectionError: If the file is missing or malformed.
    """
    for number, line in numbered_lines(path):
        query, passage, _, _ = split_columns(line, _TOP_COLUMNS, path, number)
        yield Candidate(query, passage, None)


def iter_top1000_queries(path: Path) -> Iterator[tuple[str, str]]:
    """Yield id and text of the query of each line of a `top1000.tsv`; a query stands there many times."""
    for number, line in numbered_lines(path):
        query, _, text, _ = split_columns(line, _TOP_COLUMNS, path, number)
        yield query, text


def iter_top1000_passages(path: Path) -> Iterator[tuple[str, Passage]]:
    """Yield the passage of each line of a `top1000.tsv`; one that several queries found stands there as often."""
    for number, line in numbered_lines(path):
        _, passage, _, text = split_columns(line, _TOP_COLUMNS, path, number)
        yield passage, Passage("", text)
