"""One call of the reranker, apart from the waiting: what is to be scored, and what becomes of the logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fr_reranker_plugin.langchain.documents import Rerankable, content_of, first_positions, metadata_of
from fr_reranker_plugin.scoring.ranking import Ranked
from fr_reranker_plugin.scoring.ranking_task import RankingRules, RankingTask


class RerankRequest(RankingTask):
    """A query and its documents, on the way to a ranking.

    Repeated are documents that have one id, or one text where they have no id; the first of them is ranked.

    :param query: The query, a string.
    :param documents: What to rank, checked.
    :param rules: The rules of this call.
    """

    def __init__(self, query: str, documents: Sequence[Rerankable], rules: RankingRules) -> None:
        self._positions = first_positions(documents) if rules.deduplicate else range(len(documents))
        texts = ((metadata_of(documents[place]), content_of(documents[place], place)) for place in self._positions)
        super().__init__(query, texts, rules)

    @property
    def number_of_documents(self) -> int:
        """How many documents are ranked, without those that were left out as repetitions."""
        return len(self._positions)

    def ranked(self, logits: Sequence[float]) -> list[Ranked]:
        """Order the documents, best first; `index` is a position in the list that was given."""
        return [replace(ranked, index=self._positions[ranked.index]) for ranked in super().ranked(logits)]
