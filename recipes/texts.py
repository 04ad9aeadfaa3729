"""Texts as token ids, embedded and batched by length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import BertModel

from fr_reranker_plugin.scoring.forward import bfloat16_product

Ids = list[int]
START, PAD, END = 0, 1, 2
MAX_TOKENS = 512


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the tokenizer of a model folder, without truncation or padding."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def fast_dtype(device: str) -> torch.dtype:
    """Return bfloat16, or float32 on a CPU that would take several times as long in bfloat16."""
    return torch.float32 if device == "cpu" and bfloat16_product.is_slow() else torch.bfloat16


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Ids]:
    """Return the ids of each text, without special tokens."""
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def padded(sequences: Sequence[Ids], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad the sequences to one matrix of ids, and mark what is not padding.

    Widths are multiples of 16: matrix kernels are made once per shape.
    """
    width = math.ceil(max(map(len, sequences)) / 16) * 16
    ids = torch.full((len(sequences), width), PAD)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return ids.to(device), (torch.arange(width) < lengths[:, None]).to(device)


def batches_by_length(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Yield positions, shortest first, in batches whose padded size stays within `tokens`."""
    batch: list[int] = []
    for position in np.argsort(lengths, kind="stable").tolist():
        if batch and (len(batch) + 1) * lengths[position] > tokens:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


class Embedder:
    """The bi-encoder: mean-pooled, normalised vectors of token ids."""

    def __init__(self, folder: Path, *, device: str = "cpu", dtype: torch.dtype | None = None) -> None:
        """Load the model of `folder`, in what is fast on the device if no `dtype` is given."""
        dtype = dtype or fast_dtype(device)
        self._model = BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=dtype).eval().to(device)
        self._device = device
        self._prefixes = {
            kind: load_tokenizer(folder).encode(f"{kind}:", add_special_tokens=False).ids
            for kind in ("query", "passage")
        }

    @torch.no_grad()
    def embed(self, texts: Sequence[Ids], kind: str, *, tokens: int = 4096) -> np.ndarray:
        """Return one row per text.

        :param kind: "query" or "passage": the prefix of multilingual-e5.
        :param tokens: How many tokens one batch may hold.
        """
        sequences = [[START, *(self._prefixes[kind] + text)[: MAX_TOKENS - 2], END] for text in texts]
        vectors = np.zeros((len(texts), self._model.config.hidden_size), np.float32)
        for batch in batches_by_length([len(s) for s in sequences], tokens):
            ids, mask = padded([sequences[i] for i in batch], self._device)
            hidden = self._model(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            vectors[batch] = torch.nn.functional.normalize(mean, dim=-1).cpu().numpy()
        return vectors
