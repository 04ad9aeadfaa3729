"""One call of the reranker, apart from the waiting: what is to be scored, and what becomes of the logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fr_reranker_plugin.langchain.documents import Rerankable, content_of, first_positions, metadata_of
from fr_reranker_plugin.scoring.ranking import Candidates, Ranked, TextForm, rank_by_score
from fr_reranker_plugin.scoring.scorer import Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingRules:
    """How documents become texts, and how logits become a ranking.

    :param metadata_fields: Metadata that is read before the content, in this order.
    :param deduplicate: Rank only the first of the documents that have one id, or one text where they have no id.
    :param top_n: How many to keep at most; `None` keeps all.
    :param score_threshold: Keep only scores of at least this much, on the reported scale; applied before `top_n`.
    :param scale_score: Report `sigmoid(logit)` rather than the logit.
    """

    form: TextForm
    metadata_fields: Sequence[str]
    deduplicate: bool
    top_n: int | None
    score_threshold: float | None
    scale_score: bool


class RerankRequest:
    """A query and its documents, on the way to a ranking.

    :param query: The query, a string.
    :param documents: What to rank, checked.
    :param rules: The rules of this call.
    """

    def __init__(self, query: str, documents: Sequence[Rerankable], rules: RankingRules) -> None:
        self._rules = rules
        self._positions = first_positions(documents) if rules.deduplicate else range(len(documents))
        passages = [self._passage(documents[position], position) for position in self._positions]
        self._candidates = Candidates.from_passages(rules.form.query(query), passages)

    @property
    def pairs(self) -> list[Pair]:
        """The distinct pairs to score; a document without text needs none."""
        return self._candidates.pairs

    @property
    def number_of_documents(self) -> int:
        """How many documents are ranked, without those that were left out as repetitions."""
        return len(self._positions)

    def ranked(self, logits: Sequence[float]) -> list[Ranked]:
        """Order the documents, best first; `index` is a position in the list that was given.

        :param logits: One logit for each of `pairs`.
        :raises ScoringError: If their number is another, or one is not finite.
        """
        best_first = rank_by_score(
            self._candidates.logits_of_passages(logits),
            top_k=self._rules.top_n,
            score_threshold=self._rules.score_threshold,
            scale_score=self._rules.scale_score,
        )
        return [replace(ranked, index=self._positions[ranked.index]) for ranked in best_first]

    def truncated_documents(self, logits: Sequence[float]) -> int:
        """Count the documents whose text was cut to the model's length, as far as the scorer tells."""
        return len(self._candidates.passages_of_pairs(getattr(logits, "truncated", ())))

    def _passage(self, document: Rerankable, position: int) -> str | None:
        metadata = metadata_of(document)
        fields = [metadata.get(name) for name in self._rules.metadata_fields]
        return self._rules.form.passage(fields, content_of(document, position))
