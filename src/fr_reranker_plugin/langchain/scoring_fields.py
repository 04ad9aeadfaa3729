"""What scores, and how a call is scored: the fields of the cross-encoder's classes beside those of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Self, cast

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from fr_reranker_plugin.langchain.model_fields import ModelFields
from fr_reranker_plugin.scoring.long_documents import LongDocuments, LongDocumentScorer, window_settings
from fr_reranker_plugin.scoring.scorer import Pair, Scorer
from fr_reranker_plugin.scoring.settings import Priority
from fr_reranker_plugin.scoring.shared import SharedScorer


class ScoringFields(ModelFields):
    """What concerns a call rather than the model, so that changing it keeps the model in use; and the scorer.

    :param scorer: Something that scores in place of a model of this process; it stays its owner's to close.
    :param timeout: Seconds until `DeadlineExceededError` once the model is loaded; `None` waits as long as it takes.
    :param priority: `"interactive"` for what someone waits for, `"bulk"` for work that may let the former go first.
    :param long_documents: What becomes of a text that is longer than the model reads. `"truncate"`: its end is not
        read; `"max"`: it is read in windows, and the best one counts; `"mean"`: the mean of the best three counts.
    :param window_overlap: Tokens that neighbouring windows share at least; half a window at most.
    :param max_windows: Most windows of one text; what is behind them is not read. `None`: all.
    """

    scorer: Annotated[Scorer | None, SkipJsonSchema()] = Field(default=None, exclude=True, repr=False)
    timeout: float | None = Field(default=None, gt=0, strict=True)
    priority: Priority = "interactive"
    long_documents: LongDocuments = "truncate"
    window_overlap: int = Field(default=64, ge=0, strict=True)
    max_windows: int | None = Field(default=None, gt=0, strict=True)

    further_model_fields: ClassVar[frozenset[str]] = frozenset({"scorer"})

    def warm_up(self) -> None:
        """Load the model unless it is loaded; see `ModelFields.warm_up`."""
        if self.scorer is None:
            super().warm_up()

    async def awarm_up(self) -> None:
        """Load the model unless it is loaded, without blocking the event loop; see `ModelFields.awarm_up`."""
        if self.scorer is None:
            await super().awarm_up()

    def _new_handle(self) -> SharedScorer:
        return SharedScorer(self._model_settings(), self._batch_settings())

    def _scorer(self) -> Scorer:
        return cast("SharedScorer", self._shared_model()) if self.scorer is None else self.scorer

    def _score(self, pairs: Sequence[Pair]) -> list[float]:
        return self._reader().score(pairs, timeout=self.timeout, priority=self.priority)

    async def _ascore(self, pairs: Sequence[Pair]) -> list[float]:
        return await self._reader().ascore(pairs, timeout=self.timeout, priority=self.priority)

    def _reader(self) -> Scorer:
        """Give the scorer, reading long texts as these fields say."""
        windows = window_settings(self.long_documents, overlap=self.window_overlap, max_windows=self.max_windows)
        return self._scorer() if windows is None else LongDocumentScorer(self._scorer(), windows)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        shared_with_copy = {id(self.scorer): self.scorer}
        return super().__deepcopy__({**(memo or {}), **shared_with_copy})
