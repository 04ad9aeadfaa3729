"""One live scorer per model and process, whoever asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fr_reranker_plugin.scoring.batching import BatchingScorer
from fr_reranker_plugin.scoring.registry import REGISTRY
from fr_reranker_plugin.scoring.scorer import Logits, Pair
from fr_reranker_plugin.scoring.settings import BatchSettings, ModelSettings, Priority
from fr_reranker_plugin.scoring.shared_model import SharedModel
from fr_reranker_plugin.scoring.windows import Span


def live_scorers() -> int:
    """How many models this process holds in memory through `shared_scorer`."""
    return REGISTRY.count(BatchingScorer)


class SharedScorer(SharedModel[BatchingScorer]):
    """A handle on the live scorer of a model; cheap to make, to copy and to pickle.

    The model is loaded at the first use and shared by every handle with the same settings. A copy starts cold and
    joins the same live scorer when it is used; it does not carry the token. Using a closed handle opens it again.
    A `timeout` counts from when the model is loaded.

    :param model: Which model. Handles whose settings load the same share it: `None` and `"auto"` count as what they
        stand for, a folder as its full path, and `local_files_only` not at all. Only `max_length=None` counts as
        different from the number that it comes to, which stands in the model.
    :param batch: Bounds of batch and queue. The first handle of a model decides; a later difference is logged.
    """

    _kind = BatchingScorer

    @staticmethod
    def _load(model: ModelSettings, batch: BatchSettings) -> BatchingScorer:
        from fr_reranker_plugin.scoring.engines import load_engines

        return BatchingScorer(load_engines(model), batch)

    @property
    def max_length(self) -> int:
        """The longest pair in tokens; longer ones are cut. Asked that, the model is loaded."""
        return self._live().max_length

    def score(
        self, pairs: Sequence[Pair], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> Logits:
        """Give one raw logit per pair, in order; see `BatchingScorer.score`. No pairs load nothing."""
        return self._live().score(pairs, timeout=timeout, priority=priority) if pairs else Logits()

    async def ascore(
        self, pairs: Sequence[Pair], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> Logits:
        """Give one raw logit per pair without blocking the event loop; see `BatchingScorer.ascore`."""
        if not pairs:
            return Logits()
        return await (await self._alive()).ascore(pairs, timeout=timeout, priority=priority)

    def windows(self, pairs: Sequence[Pair], *, overlap: int) -> list[list[Span]]:
        """Give where the passage of each pair is cut into windows that fit; see `cut_passages`."""
        return self._live().windows(pairs, overlap=overlap)

    async def awindows(self, pairs: Sequence[Pair], *, overlap: int) -> list[list[Span]]:
        """Give where each passage is cut without blocking the event loop."""
        return await (await self._alive()).awindows(pairs, overlap=overlap)

    def __reduce__(self) -> tuple[type[SharedScorer], tuple[ModelSettings, BatchSettings]]:
        return SharedScorer, (replace(self.model, token=None), self.batch)


def shared_scorer(model: ModelSettings | None = None, batch: BatchSettings | None = None) -> SharedScorer:
    """Give a warm handle on the one live scorer of `model` in this process.

    :param model: Which model; `None` is the reference model with its defaults.
    :param batch: Bounds of batch and queue, if this is the first handle.
    :raises ModelLoadError: If the model cannot be loaded.
    """
    handle = SharedScorer(model or ModelSettings(), batch)
    handle.warm_up()
    return handle
