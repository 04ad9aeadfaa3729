"""The ranker as a component of Haystack: its life cycle, and its one step in a pipeline."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from haystack import Document, component, logging
from haystack.utils import Secret

from fr_reranker_plugin.errors import RerankerError, SettingsError
from fr_reranker_plugin.scoring.long_documents import reading
from fr_reranker_plugin.scoring.remote.scorer import RemoteScorer
from fr_reranker_plugin.scoring.scorer import Scorer
from fr_reranker_plugin.scoring.settings import EMBEDDED, REFERENCE_MODEL
from fr_reranker_plugin.scoring.shared import SharedScorer
from haystack_integrations.components.rankers.fr_reranker.parameters import RankerParameters
from haystack_integrations.components.rankers.fr_reranker.report import tag_span
from haystack_integrations.components.rankers.fr_reranker.request import RankingRequest

logger = logging.getLogger(__name__)

_opening: Final = threading.Lock()
"""Held for the moment in which a ranker makes its handle. Not part of a ranker, so that it can be copied."""


@component
class FrenchCrossEncoderRanker(RankerParameters):
    """Ranks documents by how well they answer a French question.

    A cross-encoder reads the question and each document together and gives one relevance score. Rankers with the same
    model settings share one copy of the model in a process, and their pairs are scored in common batches.

    ```python
    from haystack import Document
    from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker

    ranker = FrenchCrossEncoderRanker(model="embedded")
    documents = [Document(content="Le chat dort."), Document(content="La mairie délivre l'acte de naissance.")]
    best = ranker.run(query="Où demander un acte de naissance ?", documents=documents)["documents"][0]
    ```
    """

    _handle: SharedScorer | RemoteScorer | None = None
    _told_of_truncation = False

    def warm_up(self) -> None:
        """Load the model unless it is loaded, and the calibration; safe from many threads, which wait for one load.

        :raises ModelLoadError: If it cannot be loaded; the message says what to do, and a later call tries again.
        :raises SettingsError: If the calibration is not there or cannot be used.
        """
        self._kept_calibration.read(self.calibration, model=self.model)
        self._scorer.warm_up()

    async def warm_up_async(self) -> None:
        """Load the model unless it is loaded, and the calibration, without blocking the event loop."""
        await self._kept_calibration.aread(self.calibration, model=self.model)
        await self._scorer.awarm_up()

    def close(self) -> None:
        """Let go of the model; the last ranker that held it frees the memory. A later run loads it again."""
        with _opening:
            handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    async def close_async(self) -> None:
        """Let go of the model without blocking the event loop while what is queued is answered."""
        await asyncio.to_thread(self.close)

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        scale_score: bool | None = None,  # noqa: FBT001 -- positional like the other rankers
        score_threshold: float | None = None,
    ) -> dict[str, list[Document]]:
        """Rank documents by their relevance to the query.

        Each id is ranked once, at the score it came with best. Documents with the same score keep their order; those
        without text come last, with the score 0.0 (or the lowest logit). Where long documents are read in windows, the
        metadata key `best_passage` tells the best one of each document: its `text`, its `start` and `end` in the
        content in characters, and how many `windows` were read.

        :param query: The question. If it is blank, the documents are returned as they are, with a warning.
        :param documents: The documents to rank; they are not changed, and copies are returned.
        :param top_k: Most documents to return; replaces the value given at construction.
        :param scale_score: Give scores in 0..1 rather than raw logits; replaces the value given at construction. Raw
            logits are refused where there is a calibration.
        :param score_threshold: Keep only documents with at least this score, before `top_k` is applied; replaces the
            value given at construction. Minus infinity keeps all.
        :returns: A dictionary with the key `documents`: the documents with their scores, the most relevant first.
        :raises SettingsError: If an argument is not allowed, whether or not there are documents. It is a `ValueError`.
        :raises ScoringError: If the model fails, unless `raise_on_failure=False`.
        :raises DeadlineExceededError: If it takes longer than `timeout`, unless `raise_on_failure=False`.
        """
        rules = self.ranking_rules(self._kept_calibration.read(self.calibration, model=self.model))
        changed = rules.changed(top_k=top_k, scale_score=scale_score, score_threshold=score_threshold)
        request = RankingRequest(query, documents, changed)
        try:
            logits = self._reader().score(request.pairs, timeout=self.timeout, priority=self.priority)
            return self._ranked(request, logits)
        except RerankerError as error:
            return self._unranked(request, error)

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        scale_score: bool | None = None,  # noqa: FBT001 -- positional like the other rankers
        score_threshold: float | None = None,
    ) -> dict[str, list[Document]]:
        """Rank documents without blocking the event loop; like `run` otherwise.

        Cancelling the task drops its pairs that are not being scored yet.
        """
        rules = self.ranking_rules(await self._kept_calibration.aread(self.calibration, model=self.model))
        changed = rules.changed(top_k=top_k, scale_score=scale_score, score_threshold=score_threshold)
        request = RankingRequest(query, documents, changed)
        try:
            logits = await self._reader().ascore(request.pairs, timeout=self.timeout, priority=self.priority)
            return self._ranked(request, logits)
        except RerankerError as error:
            return self._unranked(request, error)

    @property
    def _scorer(self) -> SharedScorer | RemoteScorer:
        """The handle on the model, shared or on a server. Secrets are read here, at the first use, as Haystack asks."""
        with _opening:
            if self._handle is None:
                self._handle = self._new_handle()
            return self._handle

    def _new_handle(self) -> SharedScorer | RemoteScorer:
        remote = self.remote_settings()
        if remote is not None:
            return RemoteScorer(replace(remote, api_key=_value_of(self.remote_api_key)))
        return SharedScorer(replace(self.model_settings(), token=_value_of(self.token)), self.batch_settings())

    def _reader(self) -> Scorer:
        """Give the scorer, reading long documents as the parameters say."""
        return reading(self._scorer, self.window_settings())

    def _ranked(self, request: RankingRequest, logits: Sequence[float]) -> dict[str, list[Document]]:
        documents = request.ranked_documents(logits)
        truncated = request.truncated(logits)
        tag_span(self.model, request, truncated=truncated, windows=request.windows(logits))
        if truncated:
            # a corpus of long documents would fill the log: one warning per ranker, then a line for those who look
            tell = logger.info if self._told_of_truncation else logger.warning
            tell("{cut} of {all} documents were not read to their end", cut=truncated, all=len(request.documents))
            self._told_of_truncation = True
        if request.query_is_blank and documents:
            logger.warning("The query is blank: the documents are returned unranked")
        return {"documents": documents}

    def _unranked(self, request: RankingRequest, error: RerankerError) -> dict[str, list[Document]]:
        """Give the documents as they came, where that is wanted; raise the error where it is not."""
        tag_span(self.model, request, error=error)
        if self.raise_on_failure or isinstance(error, SettingsError):
            raise error
        logger.warning("Ranking failed; the documents are returned unranked. {error}", error=error)
        return {"documents": request.unranked()}

    def _get_telemetry_data(self) -> dict[str, Any]:
        """Give Haystack's usage statistics the model's name if everybody knows it; others stay on this machine."""
        return {"model": self.model if self.model in (REFERENCE_MODEL, EMBEDDED) else "custom"}

    def __getstate__(self) -> dict[str, Any]:
        # A copy starts cold, and holds neither the model nor the token in readable form.
        return {name: value for name, value in vars(self).items() if name != "_handle"}


def _value_of(secret: Secret | None) -> str | None:
    return None if secret is None else secret.resolve_value()
