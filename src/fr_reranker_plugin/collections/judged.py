"""What a judged collection is: passages, queries and judgements, in memory or read as they are needed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from fr_reranker_plugin.errors import CollectionError

Qrels = dict[str, dict[str, int]]
"""Judgements: the grade, 0 or more, by query and passage."""


class Passage(NamedTuple):
    """One document of a collection; `title` may be empty."""

    title: str
    text: str

    @property
    def full_text(self) -> str:
        """Title and text as one string, the title on a line of its own: what the models read."""
        return f"{self.title}\n{self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True)
class Collection:
    """Passages, queries and judgements, each by its id; `qrels[query][passage]` is a grade of 0 or more."""

    corpus: Mapping[str, Passage]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]


class Candidate(NamedTuple):
    """A passage that is to be ranked for a query.

    `score` is the first stage's, higher is better; `None` where the order of a query's candidates means nothing.
    """

    query: str
    passage: str
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCollection:
    """A collection of any size: queries and judgements in memory, passages read one after the other.

    :param name: What reports call it.
    :param queries: Text by id, of the judged queries only.
    :param qrels: Grades by query and passage.
    :param passages: Reads the passages from the start; called once or several times.
    :param fingerprint: Changes whenever queries, judgements or the files of the passages do.
    :param candidates: Reads the candidate lists that come with the collection; `None` if there are none.
    :raises CollectionError: If a judged query has no text, or none is judged.
    """

    name: str
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    passages: Callable[[], Iterator[tuple[str, Passage]]]
    fingerprint: str
    candidates: Callable[[], Iterator[Candidate]] | None = None

    def __post_init__(self) -> None:
        if not self.qrels:
            raise CollectionError(f"{self.name}: no query is judged")
        if unknown := [query for query in self.qrels if query not in self.queries]:
            raise CollectionError(f"{self.name}: the query {unknown[0]!r} is judged, but has no text")

    def sample(self, count: int, *, seed: int = 0) -> JudgedCollection:
        """Give the same collection with `count` of its queries, the same ones each time; all if there are no more."""
        if count >= len(self.qrels):
            return self
        kept = set(random.Random(seed).sample(sorted(self.qrels), count))  # noqa: S311 -- not a secret
        return replace(
            self,
            name=f"{self.name}, sample of {count}",
            queries={query: text for query, text in self.queries.items() if query in kept},
            qrels={query: grades for query, grades in self.qrels.items() if query in kept},
            fingerprint=f"{self.fingerprint} {count} {seed}",
        )
