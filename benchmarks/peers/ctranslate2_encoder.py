"""CTranslate2: its encoder removes padding by itself; the head, which it lacks, is computed with torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ctranslate2
import numpy as np
import torch
from ctranslate2.converters import TransformersConverter
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, XLMRobertaConfig

from benchmarks.peers.length_sorted import LengthSorted


class CTranslate2(LengthSorted):
    """The converted encoder in length-sorted batches, and the classification head of the checkpoint.

    :param cache: Where the converted model lies or is written.
    :param compute_type: `"float32"`, `"int8"` (weights and activations of the linear layers), or `"bfloat16"`.
    """

    def __init__(self, folder: str, *, device: str, cache: str, compute_type: str, batch_size: int = 32) -> None:
        out = Path(cache) / f"{Path(folder).name}-ctranslate2"
        if not out.is_dir():
            XLMRobertaConfig.position_embedding_type = "absolute"  # gone from transformers 5; the converter asks for it
            TransformersConverter(folder).convert(str(out))
        self._encoder = ctranslate2.Encoder(
            str(out), device=device, compute_type=compute_type, intra_threads=torch.get_num_threads()
        )
        self._head = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval().classifier
        super().__init__(self._logits, folder, batch_size=batch_size)

    def _logits(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        rows: Sequence[Sequence[int]] = [
            row[: int(length)].tolist() for row, length in zip(ids, mask.sum(1), strict=True)
        ]
        states = np.array(self._encoder.forward_batch(rows).last_hidden_state)
        with torch.inference_mode():
            logits: NDArray[np.float32] = self._head(torch.from_numpy(states[:, :1].copy())).numpy()
        return logits
