"""The training pairs: queries with a positive passage and BM25 negatives."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Pair:
    """A query, its positive and its BM25 negatives (ids of passages), and where it comes from."""

    query: str
    positive: str
    negatives: tuple[str, ...]
    source: str
    kind: str
    translation: str
    document: str


def read_pairs(folder: Path, split: str) -> list[Pair]:
    """Return the rows of `split` ("train" or "dev")."""
    return [
        Pair(r["query"], r["pos"], tuple(r["neg"]), r["source"], r["kind"], r["translation"], r["doc"])
        for r in _rows(folder / "pairs" / f"{split}.jsonl.gz")
    ]


def read_passages(folder: Path) -> dict[str, dict[str, str]]:
    """Return the passages by id, each with `title`, `text`, `doc`, `source`, and `full_text`: both texts joined."""
    return {r["_id"]: r | {"full_text": _full_text(r)} for r in _rows(folder / "pairs" / "passages.jsonl.gz")}


def _full_text(row: dict[str, str]) -> str:
    return f"{row['title']}\n{row['text']}" if row["title"] else row["text"]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)
