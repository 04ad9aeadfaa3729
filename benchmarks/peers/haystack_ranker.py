"""Haystack: `SentenceTransformersSimilarityRanker`, called by `run_async` of a pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from haystack import Document, Pipeline
from haystack.utils import ComponentDevice
from haystack_integrations.components.rankers.sentence_transformers import SentenceTransformersSimilarityRanker


class HaystackRanker:
    """The ranker alone in a pipeline, with its own batch size of 16.

    It has no asynchronous method of its own; the pipeline runs it in the event loop's thread pool.
    """

    def __init__(self, folder: str, *, device: str) -> None:
        ranker = SentenceTransformersSimilarityRanker(
            model=folder, device=ComponentDevice.from_str(device), top_k=100_000, scale_score=False
        )
        ranker.warm_up()
        self._ranker = ranker
        self._pipeline = Pipeline()
        self._pipeline.add_component("ranker", ranker)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Give one logit per pair, in order."""
        return asyncio.run(self.ascore(pairs))

    async def ascore(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Give one logit per pair without blocking the loop."""
        by_question: dict[str, list[int]] = {}
        for place, (question, _) in enumerate(pairs):
            by_question.setdefault(question, []).append(place)
        scores = [0.0] * len(pairs)
        for question, places in by_question.items():
            documents = [Document(id=str(place), content=pairs[place][1]) for place in places]
            answer = await self._pipeline.run_async({"ranker": {"query": question, "documents": documents}})
            for document in answer["ranker"]["documents"]:
                scores[int(document.id)] = float(document.score)
        return scores

    def close(self) -> None:
        """Let go of the model."""
        del self._ranker, self._pipeline
