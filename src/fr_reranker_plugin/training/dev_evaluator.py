"""The dev evaluation in the form that the trainer calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from sentence_transformers.base.evaluation import BaseEvaluator

from fr_reranker_plugin.scoring.scorer import Pair
from fr_reranker_plugin.training.dev_sets import DevQuestion, measure_dev
from fr_reranker_plugin.training.history import MAIN_MEASURE

_BATCH: Final = 32


class DevEvaluator(BaseEvaluator):
    """Measures RR@10 and nDCG@10 of the model on the dev questions.

    :param questions: With their candidates.
    :param max_length: Longest pair in tokens: that of later use, not that of training.
    """

    def __init__(self, questions: Sequence[DevQuestion], max_length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # sentence-transformers gives it no types
        self.primary_metric = MAIN_MEASURE
        self._questions = questions
        self._max_length = max_length

    def __call__(
        self,
        model: Any,  # noqa: ANN401 -- sentence-transformers' signature
        output_path: str | None = None,  # noqa: ARG002
        epoch: float = -1,  # noqa: ARG002
        steps: int = -1,  # noqa: ARG002
    ) -> dict[str, float]:
        """Score all candidates and measure."""

        def score(pairs: Sequence[Pair]) -> list[float]:
            logits = model.predict(
                list(pairs), batch_size=_BATCH, activation_fn=torch.nn.Identity(), show_progress_bar=False
            )
            return [float(logit) for logit in logits]

        length = model.max_seq_length
        model.max_seq_length = self._max_length
        try:
            return measure_dev(self._questions, score)
        finally:
            model.max_seq_length = length
