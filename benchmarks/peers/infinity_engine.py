"""infinity-emb: its engine, which batches across callers, without its web server."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence

from infinity_emb import AsyncEmbeddingEngine, EngineArgs


class InfinityEngine:
    """The engine in an event loop of its own; one asynchronous `rerank` per question.

    The published release cannot be installed beside sentence-transformers 6: give it an interpreter of its own with
    `--peer-python infinity=PATH`. Its `rerank` sorts by score and gives probabilities; both are undone here.
    """

    def __init__(self, folder: str, *, device: str, dtype: str = "float32") -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._engine = AsyncEmbeddingEngine.from_args(
            EngineArgs(
                model_name_or_path=folder,
                engine="torch",
                device=device,
                dtype=dtype,
                bettertransformer=False,  # gone from the optimum that it finds
                model_warmup=False,
                lengths_via_tokenize=False,
            )
        )
        self._await(self._engine.astart())

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Give one logit per pair, in order."""
        return self._await(self._rerank(pairs))

    def close(self) -> None:
        """Let go of the model."""
        self._await(self._engine.astop())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _rerank(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        by_question: dict[str, list[int]] = {}
        for place, (question, _) in enumerate(pairs):
            by_question.setdefault(question, []).append(place)
        answers = await asyncio.gather(
            *(
                self._engine.rerank(query=question, docs=[pairs[at][1] for at in places], raw_scores=True)
                for question, places in by_question.items()
            )
        )
        scores = [math.nan] * len(pairs)
        for places, (ranked, _) in zip(by_question.values(), answers, strict=True):
            for one in ranked:
                scores[places[one.index]] = float(one.relevance_score)
        return scores

    def _await(self, coroutine):  # noqa: ANN001, ANN202 -- any coroutine, its result
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
