"""Retrieval with reranking as one retriever: from a question to the documents that answer it best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, RetrieverLike
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict, Field

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.langchain.compressor import FrenchCrossEncoderReranker
from fr_reranker_plugin.scoring.settings import check_whole_number


class FrenchRerankRetriever(BaseRetriever):
    """A first stage proposes candidates, and the cross-encoder keeps the best of them.

    `k` and `filter` can be given per call: `retriever.invoke("Où voter ?", k=3, filter={"year": 2024})`.

    :param first_stage: A vector store, such as `FaissVectorStore`, or any retriever: one of BM25, an ensemble.
    :param reranker: Ranks the candidates; the reference model unless another is given.
    :param k: How many documents to give at most; `None`: the `top_n` of the reranker.
    :param candidates: How many documents are ranked at most, and asked of a vector store; where more are to be given,
        so many.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    first_stage: VectorStore | RetrieverLike
    reranker: FrenchCrossEncoderReranker = Field(default_factory=FrenchCrossEncoderReranker)
    k: int | None = Field(default=None, gt=0, strict=True)
    candidates: int = Field(default=50, gt=0, strict=True)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 -- as LangChain calls it
    ) -> list[Document]:
        top_n = self._top_n(k)
        most = max(self.candidates, top_n or 0)
        found = self._proposing(most, filter).invoke(query, {"callbacks": run_manager.get_child()})
        ranked = self.reranker.compress_documents(found[:most], query, run_manager.get_child(), top_n=top_n)
        return ranked[:top_n]

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 -- as LangChain calls it
    ) -> list[Document]:
        top_n = self._top_n(k)
        most = max(self.candidates, top_n or 0)
        found = await self._proposing(most, filter).ainvoke(query, {"callbacks": run_manager.get_child()})
        ranked = await self.reranker.acompress_documents(found[:most], query, run_manager.get_child(), top_n=top_n)
        return ranked[:top_n]

    def _top_n(self, k: int | None) -> int | None:
        if k is not None:
            check_whole_number("k", k)
            return k
        return self.reranker.top_n if self.k is None else self.k

    def _proposing(self, most: int, filters: Mapping[str, Any] | None) -> RetrieverLike:
        """Give the first stage as a retriever of at most so many candidates."""
        if isinstance(self.first_stage, VectorStore):
            wanted = {"k": most} if filters is None else {"k": most, "filter": filters}
            return self.first_stage.as_retriever(search_kwargs=wanted)
        if filters is not None:
            raise SettingsError("filter needs a vector store as first_stage; a retriever filters as it was made to")
        return self.first_stage
