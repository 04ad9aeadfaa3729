"""Length-sorted, padded batches around any function from ids and mask to logits: what ONNX Runtime users write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

Ids = NDArray[np.int64]


class LengthSorted:
    """Batches of `batch_size` pairs of like token lengths, padded to the longest of each.

    :param forward: Gives one logit per row, from ids and attention mask of shape (pairs, tokens).
    :param folder: The checkpoint, for its tokenizer.
    """

    def __init__(
        self, forward: Callable[[Ids, Ids], NDArray[np.float32]], folder: str, *, batch_size: int = 32
    ) -> None:
        self._forward = forward
        self._batch_size = batch_size
        self._tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(512, strategy="longest_first")
        pad = self._tokenizer.token_to_id("<pad>")
        self._pad = 0 if pad is None else pad

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Give one logit per pair, in order."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(pairs))]
        logits = np.zeros(len(pairs), np.float32)
        for places in self._batches([len(one) for one in ids]):
            longest = max(len(ids[at]) for at in places)
            table = np.full((len(places), longest), self._pad, np.int64)
            mask = np.zeros_like(table)
            for row, at in enumerate(places):
                table[row, : len(ids[at])] = ids[at]
                mask[row, : len(ids[at])] = 1
            logits[places] = np.asarray(self._forward(table, mask)).reshape(-1)
        return [float(logit) for logit in logits]

    def plan(self, pairs: Sequence[tuple[str, str]]) -> list[list[int]]:
        """Give the positions of each padded batch: by tokens, longest first."""
        return self._batches([len(encoding.ids) for encoding in self._tokenizer.encode_batch(list(pairs))])

    def close(self) -> None:
        """Let go of the model."""
        del self._forward

    def _batches(self, lengths: Sequence[int]) -> list[list[int]]:
        order = sorted(range(len(lengths)), key=lambda at: -lengths[at])
        return [order[start : start + self._batch_size] for start in range(0, len(order), self._batch_size)]
