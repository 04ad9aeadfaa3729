"""The searches of the vector store: by text, vector or id, nearest or diverse, waiting or asynchronous."""

# ruff: noqa: A002 -- LangChain calls it `filter`

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.langchain.filters import to_filter
from fr_reranker_plugin.langchain.stored_documents import to_document
from fr_reranker_plugin.retrieval.dense_index import DenseIndex
from fr_reranker_plugin.retrieval.diversity import maximal_marginal_relevance
from fr_reranker_plugin.retrieval.documents import Hit
from fr_reranker_plugin.retrieval.filters import Filter
from fr_reranker_plugin.retrieval.index_threads import in_index_thread
from fr_reranker_plugin.retrieval.vectors import Vectors, unit_vectors
from fr_reranker_plugin.scoring.settings import check_whole_number

Scored = list[tuple[Document, float]]
"""Documents with their cosines in -1..1, best first."""

_GivenFilter = Mapping[str, Any] | None


class VectorSearch(VectorStore):
    """Finds documents: `k` of them whenever so many match `filter`, which `langchain/filters.py` describes.

    All searches raise `SettingsError` for an argument that is not known or not allowed, before anything is embedded,
    and `FilterError` for a filter that is malformed or compares what has no order. Both are `ValueError`s.
    """

    embedding: Embeddings
    _index: DenseIndex | None

    def similarity_search(
        self, query: str, k: int = 4, filter: _GivenFilter = None, **unknown: object
    ) -> list[Document]:
        """Give the documents nearest to a question, best first."""
        return _documents(self.similarity_search_with_score(query, k, filter, **unknown))

    async def asimilarity_search(
        self, query: str, k: int = 4, filter: _GivenFilter = None, **unknown: object
    ) -> list[Document]:
        """Give the nearest documents without blocking the event loop."""
        return _documents(await self.asimilarity_search_with_score(query, k, filter, **unknown))

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: _GivenFilter = None, **unknown: object
    ) -> Scored:
        """Give the documents nearest to a question with their cosines in -1..1, best first."""
        search = self._nearest(k, filter, unknown)
        return search(self.embedding.embed_query(query))

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: _GivenFilter = None, **unknown: object
    ) -> Scored:
        """Give the nearest documents with their cosines without blocking the event loop."""
        search = self._nearest(k, filter, unknown)
        return await in_index_thread(search, await self.embedding.aembed_query(query))

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: _GivenFilter = None, **unknown: object
    ) -> list[Document]:
        """Give the documents nearest to a vector, best first; its direction counts, not its length."""
        return _documents(self.similarity_search_with_score_by_vector(embedding, k, filter, **unknown))

    async def asimilarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: _GivenFilter = None, **unknown: object
    ) -> list[Document]:
        """Give the documents nearest to a vector without blocking the event loop."""
        return _documents(await self.asimilarity_search_with_score_by_vector(embedding, k, filter, **unknown))

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: _GivenFilter = None, **unknown: object
    ) -> Scored:
        """Give the documents nearest to a vector with their cosines in -1..1, best first."""
        return self._nearest(k, filter, unknown)(embedding)

    async def asimilarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: _GivenFilter = None, **unknown: object
    ) -> Scored:
        """Give the documents nearest to a vector with their cosines without blocking the event loop."""
        return await in_index_thread(self._nearest(k, filter, unknown), embedding)

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: _GivenFilter = None,
        **unknown: object,
    ) -> list[Document]:
        """Give documents that are near to a question and not near to each other, in the order of choice.

        :param fetch_k: Out of how many of the nearest to choose; at least `k`.
        :param lambda_mult: In 0..1: 1 looks at the question alone, 0 at diversity alone.
        """
        search = self._diverse(k, fetch_k, lambda_mult, filter, unknown)
        return search(self.embedding.embed_query(query))

    async def amax_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: _GivenFilter = None,
        **unknown: object,
    ) -> list[Document]:
        """Give diverse documents without blocking the event loop; see `max_marginal_relevance_search`."""
        search = self._diverse(k, fetch_k, lambda_mult, filter, unknown)
        return await in_index_thread(search, await self.embedding.aembed_query(query))

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: _GivenFilter = None,
        **unknown: object,
    ) -> list[Document]:
        """Give documents near to a vector and not near to each other; see `max_marginal_relevance_search`."""
        return self._diverse(k, fetch_k, lambda_mult, filter, unknown)(embedding)

    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: _GivenFilter = None,
        **unknown: object,
    ) -> list[Document]:
        """Give diverse documents near to a vector without blocking the event loop."""
        return await in_index_thread(self._diverse(k, fetch_k, lambda_mult, filter, unknown), embedding)

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Give the documents that exist, in the order of `ids`."""
        return [] if self._index is None else [to_document(stored) for stored in self._index.get(ids)]

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Give the documents that exist without blocking the event loop."""
        return await in_index_thread(self.get_by_ids, ids)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """Give what turns a cosine into LangChain's relevance score in 0..1."""
        return lambda cosine: (1.0 + cosine) / 2.0

    def _nearest(
        self, k: int, filter: _GivenFilter, unknown: Mapping[str, object]
    ) -> Callable[[Sequence[float]], Scored]:
        """Check the arguments, and give what searches for a vector."""
        filters = _checked(k, filter, unknown)

        def search(embedding: Sequence[float]) -> Scored:
            _, hits = self._hits(embedding, k, filters)
            return [(to_document(hit.document), hit.score) for hit in hits]

        return search

    def _diverse(
        self, k: int, fetch_k: int, lambda_mult: float, filter: _GivenFilter, unknown: Mapping[str, object]
    ) -> Callable[[Sequence[float]], list[Document]]:
        """Check the arguments, and give what chooses among the nearest to a vector."""
        filters = _checked(k, filter, unknown)
        check_whole_number("fetch_k", fetch_k)
        if not 0 <= lambda_mult <= 1:
            raise SettingsError(f"lambda_mult must be in 0..1, got {lambda_mult}")

        def search(embedding: Sequence[float]) -> list[Document]:
            query, hits = self._hits(embedding, max(k, fetch_k), filters)
            if self._index is None or not hits:
                return []
            vectors = self._index.vectors([hit.document.id for hit in hits])
            still_there = np.flatnonzero(~np.isnan(vectors[:, 0]))  # another thread may have deleted some meanwhile
            chosen = maximal_marginal_relevance(query, vectors[still_there], k, relevance=lambda_mult)
            return [to_document(hits[still_there[place]].document) for place in chosen]

        return search

    def _hits(self, embedding: Sequence[float], k: int, filters: Filter | None) -> tuple[Vectors, list[Hit]]:
        index = self._index
        (query,) = unit_vectors([embedding], dimension=None if index is None else index.dimension, what="the query")
        return query, [] if index is None else index.search(query[None], k, filters=filters)[0]


def refuse_unknown(unknown: Mapping[str, object]) -> None:
    """Refuse arguments that LangChain's signatures let through.

    :raises SettingsError: If there is one; the message names it.
    """
    if unknown:
        named = ", ".join(map(repr, unknown))
        raise SettingsError(
            f"unknown arguments: {named}; conditions on metadata are given as 'filter', without 'fetch_k'"
        )


def _checked(k: int, filter: _GivenFilter, unknown: Mapping[str, object]) -> Filter | None:
    refuse_unknown(unknown)
    check_whole_number("k", k)
    return to_filter(filter)


def _documents(scored: Scored) -> list[Document]:
    return [document for document, _ in scored]
