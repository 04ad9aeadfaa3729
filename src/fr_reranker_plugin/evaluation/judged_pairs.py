"""Pairs of a question and a passage of which a judged collection tells whether they belong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fr_reranker_plugin.collections import Collection
from fr_reranker_plugin.retrieval.documents import StoredDocument
from fr_reranker_plugin.retrieval.lexical_index import LexicalIndex
from fr_reranker_plugin.scoring.settings import check_whole_number


class JudgedPair(NamedTuple):
    """A question, a passage as the model reads it, and whether the passage answers the question."""

    query: str
    passage: str
    relevant: bool


def judged_pairs(collection: Collection, *, candidates: int = 20, relevant_from: int = 1) -> list[JudgedPair]:
    """Pair each question with its judged passages and the first that BM25 finds for it, as a reranker would meet them.

    A passage that was found and not judged counts as not relevant. Passages and questions without text are left out.

    :param candidates: How many passages BM25 may add to those that are judged; 0 takes the judged ones alone.
    :param relevant_from: The lowest grade that counts as relevant.
    :raises SettingsError: If a number is not allowed.
    :raises MissingDependencyError: If bm25s or PyStemmer is not installed, and candidates are asked for.
    """
    check_whole_number("candidates", candidates, at_least=0)
    check_whole_number("relevant_from", relevant_from)
    found = _first_by_bm25(collection, candidates) if candidates else {}
    return [
        JudgedPair(query, collection.corpus[passage].full_text, grades.get(passage, 0) >= relevant_from)
        for query_id, query in collection.queries.items()
        for grades in [collection.qrels[query_id]]
        for passage in dict.fromkeys([*grades, *found.get(query_id, ())])
        if query.strip() and collection.corpus[passage].full_text.strip()
    ]


def _first_by_bm25(collection: Collection, count: int) -> Mapping[str, list[str]]:
    documents = (StoredDocument(identifier, passage.full_text) for identifier, passage in collection.corpus.items())
    rankings = LexicalIndex.build(documents).search(list(collection.queries.values()), count)
    return {
        query_id: [identifier for identifier, _ in ranking]
        for query_id, ranking in zip(collection.queries, rankings, strict=True)
    }
