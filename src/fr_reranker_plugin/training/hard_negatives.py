"""The file `msmarco-hard-negatives.jsonl`: what several retrievers found for each training query of MS MARCO."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fr_reranker_plugin.collections.lines import malformed, read_jsonl
from fr_reranker_plugin.errors import SettingsError

BM25: Final = "bm25"
DENSE: Final = "dense"
"""Stands for all systems of a file but `BM25`."""


@dataclass(frozen=True, slots=True)
class FoundPassages:
    """One line: the positives of a query, and what each system found for it, by passage id.

    :param line: Its number, for errors.
    """

    path: Path
    line: int
    query: int
    positives: list[int]
    found: Mapping[str, Sequence[int]]

    def negatives(self, systems: Sequence[str]) -> set[int]:
        """Give what the systems found, together, without the positives.

        :param systems: Names, or `DENSE`. None: all.
        :raises CollectionError: If an id is not a whole number.
        :raises SettingsError: If a system is not there.
        """
        union: set[int] = set()
        for system in self._chosen(systems):
            union.update(_ids(self.found[system], f"neg.{system}", self.path, self.line))
        return union.difference(self.positives)

    def _chosen(self, systems: Sequence[str]) -> list[str]:
        chosen: list[str] = []
        for name in systems or self.found:
            chosen += [system for system in self.found if system != BM25] if name == DENSE else [name]
        if absent := [name for name in chosen if name not in self.found]:
            there = ", ".join(self.found) or "none"
            raise SettingsError(f"{self.path}, line {self.line}: expected the system {absent[0]!r}, found {there}")
        return chosen


def read_hard_negatives(path: Path) -> Iterator[FoundPassages]:
    """Yield the lines of a file, packed or not: `{"qid": 867436, "pos": [5238393], "neg": {"bm25": […], …}}`.

    Lines without positives, which the published file has many of, are left out.

    :raises CollectionError: If the file is missing, or a line has another form.
    """
    for number, row in read_jsonl(path):
        query, positives, found = row.get("qid"), row.get("pos"), row.get("neg")
        if isinstance(query, bool) or not isinstance(query, int):
            raise malformed(path, number, "a whole number as 'qid'", type(query).__name__)
        if not isinstance(found, dict):
            raise malformed(path, number, "an object of systems in 'neg'", type(found).__name__)
        if known := _ids(positives, "pos", path, number):
            yield FoundPassages(path, number, query, known, found)


def _ids(value: Any, name: str, path: Path, number: int) -> list[int]:  # noqa: ANN401 -- whatever the JSON holds
    if not isinstance(value, list):
        raise malformed(path, number, f"a list of passage ids in {name!r}", type(value).__name__)
    if not set(map(type, value)) <= {int}:
        wrong = next(one for one in value if type(one) is not int)
        raise malformed(path, number, f"whole numbers in {name!r}", repr(wrong))
    return value
