"""Plain transformers, as model cards show it: one padded batch; chunks of 32 where a request is longer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

_CHUNK: Final = 32


class TransformersSnippet:
    """The snippet of a model card, with chunks so that a long request does not fill the memory."""

    def __init__(self, folder: str, *, device: str, dtype: str = "float32") -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=getattr(torch, dtype))
        self._model.to(device).eval()

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Give one logit per pair, in order."""
        scores: list[float] = []
        for places in self.plan(pairs):
            features = self._tokenizer(
                [pairs[at][0] for at in places],
                [pairs[at][1] for at in places],
                padding=True,
                truncation=True,
                max_length=512,
                return_tensors="pt",
            ).to(self._model.device)
            with torch.no_grad():
                scores += self._model(**features).logits.view(-1).float().tolist()
        return scores

    def plan(self, pairs: Sequence[tuple[str, str]]) -> list[list[int]]:
        """Give the positions of each padded batch: in the order of the caller."""
        places = list(range(len(pairs)))
        return [places[start : start + _CHUNK] for start in range(0, len(places), _CHUNK)]

    def close(self) -> None:
        """Let go of the model."""
        del self._model
