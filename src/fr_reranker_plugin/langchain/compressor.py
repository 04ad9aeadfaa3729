"""The shared scorer as LangChain's document compressor."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from pydantic import Field, PrivateAttr, field_validator

from fr_reranker_plugin.errors import RerankerError, SettingsError
from fr_reranker_plugin.langchain.documents import Rerankable, check_documents, check_query, check_rerankables
from fr_reranker_plugin.langchain.request import RerankRequest
from fr_reranker_plugin.langchain.scoring_fields import ScoringFields
from fr_reranker_plugin.langchain.tracing import Outcome, atraced, traced
from fr_reranker_plugin.scoring.calibration import Calibration
from fr_reranker_plugin.scoring.ranking import Ranked, TextForm
from fr_reranker_plugin.scoring.ranking_task import RankingRules
from fr_reranker_plugin.scoring.settings import check_threshold, check_whole_number

logger = logging.getLogger(__name__)

_AS_SET: Final = -1
"""What `top_n` of a call stands for the instance's own, as Cohere's `rerank` does."""


class FrenchCrossEncoderReranker(ScoringFields, BaseDocumentCompressor):
    """Rerank retrieved documents by a French cross-encoder: for `ContextualCompressionRetriever`, or on its own.

    Each document comes back as a copy with its score in the metadata, best first; equal scores keep their order. A
    document without text comes last, with the score 0.0 (raw: the lowest float32). Where long documents are read in
    windows, the metadata also tells the best one of each document, under `best_passage`; see `BestPassage`.

    The fields that choose the model are those of `ModelFields`, those that concern a call those of `ScoringFields`.

    :param top_n: How many documents to keep at most; `None` keeps all.
    :param score_threshold: Keep only scores of at least this much, on the reported scale; applied before `top_n`.
    :param first_stage_weight: How much the order counts in which the documents came, from 0 to below 1; see `blended`.
    :param relevance_score_key: Where in a document's metadata its score goes.
    :param metadata_fields: Metadata to read before the content, such as a title; what is missing is left out.
    :param separator: Stands between the metadata fields and the content.
    :param query_prefix: Stands before the query; `query_suffix`, `document_prefix` and `document_suffix` likewise.
    :param deduplicate: Keep only the first of the documents that have one id, or one text where they have no id.
    :param raise_on_failure: Raise what goes wrong while scoring; else warn, and give the documents as they came.
        Settings that cannot be used raise either way.
    """

    top_n: int | None = Field(default=3, gt=0, strict=True)
    score_threshold: float | None = Field(default=None, strict=True)
    first_stage_weight: float = Field(default=0.0, ge=0, lt=1, strict=True)
    relevance_score_key: str = Field(default="relevance_score", min_length=1)
    metadata_fields: list[str] | None = None
    separator: str = "\n"
    query_prefix: str = ""
    query_suffix: str = ""
    document_prefix: str = ""
    document_suffix: str = ""
    deduplicate: bool = False
    raise_on_failure: bool = True

    _told_of_truncation: bool = PrivateAttr(default=False)

    @field_validator("score_threshold")
    @classmethod
    def _comparable(cls, value: float | None) -> float | None:
        return check_threshold(value)

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,
        *,
        top_n: int | None = _AS_SET,
    ) -> list[Document]:
        """Give copies of the best documents, best first.

        No documents load nothing. A blank query, and a failure if `raise_on_failure` is off, give all documents as they
        came, unscored, with a warning.

        :param callbacks: Are told of the reranking as a run of its own, with its documents or its error.
        :param top_n: How many to keep at most; `None` keeps all, -1 stands for the `top_n` of this object.
        :raises SettingsError: If something is not a document, the query is not a string, or `top_n` is below 1.
        :raises RerankerError: If scoring fails and `raise_on_failure` is on.
        """
        rules = self._rules(self._chosen(top_n), self._calibration())
        if not _can_be_ranked(documents, query):
            return list(documents)
        request = RerankRequest(query, documents, rules)
        try:
            with traced(callbacks, query, name=type(self).__name__, metadata=self._described(request)) as outcome:
                return self._finish(outcome, request, documents, self._score(request.pairs))
        except RerankerError as error:
            return self._unranked(documents, error)

    async def acompress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,
        *,
        top_n: int | None = _AS_SET,
    ) -> list[Document]:
        """Give copies of the best documents without blocking the event loop; see `compress_documents`."""
        rules = self._rules(self._chosen(top_n), await self._acalibration())
        if not _can_be_ranked(documents, query):
            return list(documents)
        request = RerankRequest(query, documents, rules)
        try:
            async with atraced(
                callbacks, query, name=type(self).__name__, metadata=self._described(request)
            ) as outcome:
                return self._finish(outcome, request, documents, await self._ascore(request.pairs))
        except RerankerError as error:
            return self._unranked(documents, error)

    def rerank(
        self, documents: Sequence[Rerankable], query: str, *, top_n: int | None = _AS_SET
    ) -> list[dict[str, Any]]:
        """Give `{"index": ..., "relevance_score": ...}` of the best documents, best first, as Cohere's `rerank` does.

        Where long documents are read in windows, `best_passage` is added. There is no unranked answer here: a blank
        query is refused, and a failure is raised in any case.

        :param documents: Texts, documents, or dictionaries with a text; see `Rerankable`.
        :param top_n: How many to keep at most; `None` keeps all, -1 stands for the `top_n` of this object.
        :raises SettingsError: If an argument is not allowed; checked before any work.
        :raises RerankerError: If scoring fails.
        """
        request = self._rerank_request(documents, query, self._rules(self._chosen(top_n), self._calibration()))
        return self._results(request, self._score(request.pairs))

    async def arerank(
        self, documents: Sequence[Rerankable], query: str, *, top_n: int | None = _AS_SET
    ) -> list[dict[str, Any]]:
        """Give index and score of the best documents without blocking the event loop; see `rerank`."""
        rules = self._rules(self._chosen(top_n), await self._acalibration())
        request = self._rerank_request(documents, query, rules)
        return self._results(request, await self._ascore(request.pairs))

    def as_runnable(self) -> Runnable[dict[str, Any], list[Document]]:
        """Give a step for LCEL chains: from `{"documents": ..., "query": ...}` to the reranked documents."""

        def compress(inputs: dict[str, Any], config: RunnableConfig) -> list[Document]:
            return self.compress_documents(*_arguments(inputs), config.get("callbacks"))

        async def acompress(inputs: dict[str, Any], config: RunnableConfig) -> list[Document]:
            return await self.acompress_documents(*_arguments(inputs), config.get("callbacks"))

        return RunnableLambda(compress, acompress, name=type(self).__name__)

    def _rules(self, top_n: int | None, calibration: Calibration | None) -> RankingRules:
        form = TextForm(
            query_prefix=self.query_prefix,
            query_suffix=self.query_suffix,
            document_prefix=self.document_prefix,
            document_suffix=self.document_suffix,
            separator=self.separator,
        )
        return RankingRules(
            form=form,
            fields=self.metadata_fields or (),
            deduplicate=self.deduplicate,
            top_k=top_n,
            score_threshold=self.score_threshold,
            scale_score=self.scale_score,
            calibration=calibration,
            first_stage_weight=self.first_stage_weight,
        )

    def _rerank_request(self, documents: Sequence[Rerankable], query: str, rules: RankingRules) -> RerankRequest:
        check_query(query)
        check_rerankables(documents)
        if documents and not query.strip():
            raise SettingsError("query must not be blank: there is nothing to rank by")
        return RerankRequest(query, documents, rules)

    def _chosen(self, top_n: int | None) -> int | None:
        if top_n == _AS_SET:
            return self.top_n
        if top_n is not None:
            check_whole_number("top_n", top_n)
        return top_n

    def _finish(
        self, outcome: Outcome, request: RerankRequest, documents: Sequence[Document], logits: Sequence[float]
    ) -> list[Document]:
        """Give the ranked documents, and note them in the trace."""
        outcome.documents = [self._with_score(documents[best.index], best) for best in request.ranked(logits)]
        outcome.metadata["fr_reranker.truncated"] = self._report_truncated(request, logits)
        windows = request.windows(logits)
        if windows is not None:
            outcome.metadata["fr_reranker.windows"] = windows
        return outcome.documents

    def _results(self, request: RerankRequest, logits: Sequence[float]) -> list[dict[str, Any]]:
        self._report_truncated(request, logits)
        return [
            {"index": best.index, "relevance_score": best.score, **best.metadata} for best in request.ranked(logits)
        ]

    def _report_truncated(self, request: RerankRequest, logits: Sequence[float]) -> int:
        truncated = request.truncated(logits)
        if truncated:
            # long documents would fill the log: one warning per reranker, then a line for those who look
            tell = logger.info if self._told_of_truncation else logger.warning
            tell("%d of %d documents were not read to their end", truncated, request.number_of_documents)
            self._told_of_truncation = True
        return truncated

    def _with_score(self, document: Document, best: Ranked) -> Document:
        found = {self.relevance_score_key: best.score, **best.metadata}
        return document.model_copy(update={"metadata": {**document.metadata, **found}})

    def _described(self, request: RerankRequest) -> dict[str, Any]:
        model = self.model_name if self.scorer is None else type(self.scorer).__name__
        counts = {"fr_reranker.documents": request.number_of_documents, "fr_reranker.pairs": len(request.pairs)}
        return {"fr_reranker.model": model, **counts}

    def _unranked(self, documents: Sequence[Document], error: RerankerError) -> list[Document]:
        if self.raise_on_failure or isinstance(error, SettingsError):
            raise error
        logger.warning("%d documents stay unranked: %s: %s", len(documents), type(error).__name__, error)
        return list(documents)


def _can_be_ranked(documents: Sequence[Document], query: str) -> bool:
    check_query(query)
    check_documents(documents)
    if documents and not query.strip():
        logger.warning("the query is blank; %d documents stay unranked", len(documents))
        return False
    return bool(documents)


def _arguments(inputs: dict[str, Any]) -> tuple[Sequence[Document], str]:
    try:
        return inputs["documents"], inputs["query"]
    except (KeyError, TypeError):
        raise SettingsError(f"expected a dictionary with 'documents' and 'query', got {repr(inputs)[:80]}") from None
