"""One call of the ranker, apart from the waiting: what is to be scored, and what becomes of the logits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from time import perf_counter
from typing import Any, Self

from haystack import Document

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.ranking import Ranked
from fr_reranker_plugin.scoring.ranking_task import RankingRules, RankingTask
from fr_reranker_plugin.scoring.settings import (
    check_calibrated_scale,
    check_first_stage_weight,
    check_threshold,
    check_whole_number,
)
from haystack_integrations.components.rankers.fr_reranker.checks import check_flag, check_text


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerRules(RankingRules):
    """How documents become texts, and how logits become a list of documents; checked when built.

    Repeated are documents that have one id.

    :param score_meta_field: Metadata key that keeps the score a document came with; `None`: it is not kept.
    :param return_embedding: Whether the documents that are returned carry their embeddings.
    :raises SettingsError: If a value is not allowed.
    """

    score_meta_field: str | None
    return_embedding: bool

    def __post_init__(self) -> None:
        if self.top_k is not None:
            check_whole_number("top_k", self.top_k)
        check_threshold(self.score_threshold)
        for name in ("scale_score", "deduplicate", "return_embedding"):
            check_flag(name, getattr(self, name))
        check_calibrated_scale(self.calibration, scale_score=self.scale_score)
        check_first_stage_weight(self.first_stage_weight)
        check_text("score_meta_field", self.score_meta_field, optional=True)

    def changed(self, *, top_k: int | None, scale_score: bool | None, score_threshold: float | None) -> Self:
        """Give the rules of one call: what is not `None` replaces what stands here."""
        named = {"top_k": top_k, "scale_score": scale_score, "score_threshold": score_threshold}
        changes: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        return replace(self, **changes)


class RankingRequest(RankingTask):
    """A question and its documents, checked and on the way to a ranking; with a blank question there are no pairs.

    :param query: The question.
    :param documents: `Document` objects, or dictionaries as `Document.to_dict` gives them (Hayhooks sends those).
    :param rules: The rules of this call.
    :raises SettingsError: If the query is not a string or a document is not one; the message names its position.
    """

    def __init__(self, query: str, documents: Sequence[Document | dict[str, Any]], rules: RankerRules) -> None:
        self._started_at = perf_counter()
        self._kept = rules
        check_text("query", query)
        given = _as_documents(documents)
        self.query_is_blank = not query.strip()
        self.documents = _without_duplicates(given) if rules.deduplicate else given
        to_read = [] if self.query_is_blank else self.documents
        super().__init__(query, ((document.meta or {}, document.content) for document in to_read), rules)

    @property
    def seconds(self) -> float:
        """Time since the call began."""
        return perf_counter() - self._started_at

    def ranked_documents(self, logits: Sequence[float]) -> list[Document]:
        """Give copies of the best documents with their scores, best first; unranked ones for a blank query.

        :param logits: One logit for each of `pairs`.
        :raises ScoringError: If their number is another, or one is not finite.
        """
        if self.query_is_blank:
            return self.unranked()
        return [self._scored(self.documents[best.index], best) for best in self.ranked(logits)]

    def unranked(self) -> list[Document]:
        """Give copies of all documents as they came, in their order and with the scores they came with."""
        return [self._copy(document, document.score, {}) for document in self.documents]

    def _scored(self, document: Document, best: Ranked) -> Document:
        key = self._kept.score_meta_field
        kept = {} if key is None or document.score is None else {key: document.score}
        return self._copy(document, best.score, {**kept, **best.metadata})

    def _copy(self, document: Document, score: float | None, more_meta: Mapping[str, Any]) -> Document:
        meta = {**(document.meta or {}), **more_meta}
        if self._kept.return_embedding:
            return replace(document, score=score, meta=meta)
        return replace(document, score=score, meta=meta, embedding=None, sparse_embedding=None)


def _as_documents(given: object) -> list[Document]:
    if not isinstance(given, (list, tuple)):
        raise SettingsError(f"documents must be a list of Document, got {type(given).__name__}")
    return [_as_document(value, position) for position, value in enumerate(given)]


def _as_document(value: object, position: int) -> Document:
    if isinstance(value, dict):
        try:
            value = Document.from_dict(value)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise SettingsError(f"documents[{position}] is a dictionary but not that of a Document: {error}") from error
    if not isinstance(value, Document):
        raise SettingsError(f"documents[{position}] must be a Document, got {type(value).__name__}")
    check_text(f"the content of documents[{position}]", value.content, optional=True)
    return value


def _without_duplicates(documents: Sequence[Document]) -> list[Document]:
    """Keep one document of each id: at its first position, and the one that came with the best score."""
    best: dict[str, Document] = {}
    for document in documents:
        known = best.get(document.id)
        if known is None or _incoming_score(document) > _incoming_score(known):
            best[document.id] = document
    return list(best.values())


def _incoming_score(document: Document) -> float:
    return -inf if document.score is None else document.score
