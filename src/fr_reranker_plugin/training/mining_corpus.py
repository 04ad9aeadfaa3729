"""What hard negatives are looked for in, and who says how near they are to a query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.retrieval.document_index import DocumentIndex, SearchMethod
from fr_reranker_plugin.retrieval.documents import Hit, StoredDocument
from fr_reranker_plugin.retrieval.lexical_index import LexicalIndex
from fr_reranker_plugin.scoring.scorer import Pair, Scorer

Judge = Callable[[Sequence[Pair], Mapping[str, str]], Sequence[float]]
"""Gives a score for each pair; the mapping has the ids in the corpus of those passages that are from there."""


class Corpus(Protocol):
    """What is searched: a `DocumentIndex`, or a `WordIndex`."""

    def search_many(self, questions: Sequence[str], k: int, *, method: SearchMethod) -> list[list[Hit]]:
        """Find the `k` best documents for each question."""


class WordIndex:
    """Texts that are searched by words alone, which needs no model.

    :raises MissingDependencyError: If bm25s or PyStemmer is not installed.
    """

    def __init__(self, documents: Iterable[StoredDocument]) -> None:
        self._documents: dict[str, StoredDocument] = {}
        self._index = LexicalIndex.build(self._kept(documents))

    def search_many(self, questions: Sequence[str], k: int, *, method: SearchMethod) -> list[list[Hit]]:
        """Find the `k` best documents for each question by BM25."""
        if method != "bm25":
            raise SettingsError(f"expected bm25, which needs no vectors, got {method!r}")
        return [
            [Hit(self._documents[name], score) for name, score in hits] for hits in self._index.search(questions, k)
        ]

    def _kept(self, documents: Iterable[StoredDocument]) -> Iterator[StoredDocument]:
        for document in documents:
            self._documents[document.id] = document
            yield document


def cosines(index: DocumentIndex) -> Judge:
    """Give what scores pairs by the index's bi-encoder; passages of the index are not encoded again."""

    def judge(pairs: Sequence[Pair], ids: Mapping[str, str]) -> list[float]:
        queries = list(dict.fromkeys(query for query, _ in pairs))
        texts = list(dict.fromkeys(text for _, text in pairs))
        known, new = [text for text in texts if text in ids], [text for text in texts if text not in ids]
        vectors = (
            np.concatenate([index.dense.vectors([ids[text] for text in known]), index.encoder.encode_passages(new)])
            if new
            else index.dense.vectors([ids[text] for text in known])
        )
        asked = dict(zip(queries, index.encoder.encode_queries(queries), strict=True))
        read = dict(zip([*known, *new], vectors, strict=True))
        return [float(asked[query].astype(np.float64) @ read[text].astype(np.float64)) for query, text in pairs]

    return judge


def logits(scorer: Scorer) -> Judge:
    """Give what scores pairs by a cross-encoder."""
    return lambda pairs, _: scorer.score(pairs)
