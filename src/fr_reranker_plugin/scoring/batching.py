"""Score the pairs of many callers together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Final

from fr_reranker_plugin.scoring.batcher import Batcher
from fr_reranker_plugin.scoring.scorer import Engine, Logits, Pair
from fr_reranker_plugin.scoring.settings import BatchSettings, Priority
from fr_reranker_plugin.scoring.texts import check_pairs
from fr_reranker_plugin.scoring.windows import Span
from fr_reranker_plugin.scoring.work import PairScoring, Work


class BatchingScorer(Batcher):
    """Share one loaded cross-encoder among threads and event loops.

    Each engine has a thread of its own, and all take from one queue. No thread waits for a batch to fill: while one
    batch runs the next one gathers, so batches grow with the load. See `Schedule` for who goes first.

    :param engines: The loaded model, or copies of it on several devices. They are used until `close`.
    :param settings: Bounds of a batch and of the queue.
    """

    _work: ClassVar[Work] = PairScoring()
    _when_closed: ClassVar[str] = "this scorer was closed; ask shared_scorer() for a new one"

    def __init__(self, engines: Engine | Sequence[Engine], settings: BatchSettings | None = None) -> None:
        self._first_engine: Final[Engine] = engines[0] if isinstance(engines, Sequence) else engines
        super().__init__(engines, settings)

    @property
    def max_length(self) -> int:
        """The longest pair in tokens; longer ones are cut."""
        return self._first_engine.max_length

    def score(
        self, pairs: Sequence[Pair], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> Logits:
        """Give one raw logit per pair, in order; blocks the calling thread.

        :param timeout: Seconds until `DeadlineExceededError`; `None` waits as long as it takes.
        :param priority: `"bulk"` lets the requests that someone waits for go first.
        :raises SettingsError: If a query or a passage is not a string.
        :raises OverloadedError: If the queue is full. Nothing of the request has been scored then.
        :raises ScoringError: If the model fails on a pair of this request.
        :raises DeviceLostError: If the device failed for good.
        :raises ScorerClosedError: If the scorer is closed, or was made in the parent of this forked process.
        """
        check_pairs(pairs)
        return Logits.joined(self._ask(pairs, timeout=timeout, priority=priority))

    async def ascore(
        self, pairs: Sequence[Pair], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> Logits:
        """Give one raw logit per pair, in order, without blocking the event loop.

        Cancelling the task drops its pairs that are not yet in a batch. Parameters and errors are those of `score`.
        """
        check_pairs(pairs)
        return Logits.joined(await self._aask(pairs, timeout=timeout, priority=priority))

    def windows(self, pairs: Sequence[Pair], *, overlap: int) -> list[list[Span]]:
        """Give where the passage of each pair is cut into windows that fit; see `cut_passages`."""
        self._check_open()
        with self._metrics.phase("tokenize"):
            return self._first_engine.windows(pairs, overlap=overlap)

    async def awindows(self, pairs: Sequence[Pair], *, overlap: int) -> list[list[Span]]:
        """Give where each passage is cut without blocking the event loop."""
        if not pairs:  # nor is there any reason to wait for the tokenizer
            self._check_open()
            return []
        cut = partial(self.windows, pairs, overlap=overlap)
        return await asyncio.get_running_loop().run_in_executor(self._open_tokenizer_pool(), cut)
