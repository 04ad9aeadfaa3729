"""The cross-encoder while it learns: encoder in bf16 where the processor knows it, head and master weights in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import BertForSequenceClassification
from transformers.models.bert.modeling_bert import BertLayer

from texts import END, START, Ids, batches_by_length, fast_dtype, padded

HEAD = ("bert.pooler", "classifier")
MASKED = -30000.0


class Student:
    """A `BertForSequenceClassification` with one label, stepped by hand because that is several times faster.

    What a CPU needs: weights kept in bf16 if it multiplies bf16 (autocast would convert them at every use), plain
    attention (the fused one is slow backwards), no gradient where nothing learns, only the first token in the last
    layer, and one micro-batch per core instead of every core on each operation.
    """

    def __init__(
        self, folder: Path, *, layers: int, frozen: int, device: str = "cpu", dtype: torch.dtype | None = None
    ) -> None:
        """Load an encoder and cut it.

        :param folder: The bi-encoder to start from, or a cross-encoder of this recipe.
        :param layers: How many of the lower encoder layers to keep.
        :param frozen: How many of these stay as they are, as do the embeddings; at least one layer has to learn.
        :param dtype: What the encoder computes in; default: what is fast on the device.
        """
        model = BertForSequenceClassification.from_pretrained(
            folder,
            num_labels=1,
            num_hidden_layers=layers,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            attn_implementation="eager",
            dtype=torch.float32,
        )
        self.model = model.to(device)
        self.frozen = frozen
        self.device = device
        self.dtype = dtype or fast_dtype(device)
        self.master = {name: p.detach().clone() for name, p in model.named_parameters()}
        model.bert.embeddings.to(self.dtype)
        model.bert.encoder.to(self.dtype)
        self.live = {n: p for n, p in model.named_parameters() if self._learns(n)}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in self.live)

    def initialise_head(self) -> None:
        """Give the pooler and the classifier their first weights."""
        torch.nn.init.orthogonal_(self.model.bert.pooler.dense.weight, 0.5)
        torch.nn.init.zeros_(self.model.bert.pooler.dense.bias)
        torch.nn.init.normal_(self.model.classifier.weight, std=0.05)
        for name, parameter in self.model.named_parameters():
            if name.startswith(HEAD):
                self.master[name] = parameter.detach().clone()

    def _learns(self, name: str) -> bool:
        fixed = ("bert.embeddings", *(f"bert.encoder.layer.{i}." for i in range(self.frozen)))
        return not name.startswith(fixed)

    def logits(self, pairs: Sequence[tuple[Ids, Ids]]) -> torch.Tensor:
        """Return one logit per (query, passage), with gradients."""
        ids, mask = padded([[START, *q, END, END, *p, END] for q, p in pairs], self.device)
        bias = None
        if not mask.all():
            bias = torch.zeros(mask.shape, dtype=self.dtype, device=self.device)
            bias = bias.masked_fill(~mask, MASKED)[:, None, None, :]
        bert = self.model.bert
        with torch.no_grad():
            hidden = bert.embeddings(input_ids=ids)
            for layer in bert.encoder.layer[: self.frozen]:
                hidden = _hidden(layer(hidden, bias))
        for layer in bert.encoder.layer[self.frozen : -1]:
            hidden = _hidden(layer(hidden, bias))
        first = _first_token(bert.encoder.layer[-1], hidden, bias)
        return self.model.classifier(bert.pooler(first.float()))[:, 0]

    @torch.no_grad()
    def score(self, pairs: Sequence[tuple[Ids, Ids]], *, workers: int, tokens: int = 2048) -> np.ndarray:
        """Score many pairs, batched by length, on `workers` threads."""
        scores = np.zeros(len(pairs), np.float32)

        def fill(batch: list[int]) -> None:
            with torch.no_grad():  # the setting does not travel to other threads
                scores[batch] = self.logits([pairs[i] for i in batch]).cpu().numpy()

        lengths = [len(query) + len(passage) + 4 for query, passage in pairs]
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(fill, batches_by_length(lengths, tokens)))
        return scores

    def optimiser(self, rate: float) -> torch.optim.AdamW:
        """Make AdamW on the master weights: no decay on biases and norms, five times the rate for the new head."""
        self.master |= {name: self.master[name].requires_grad_() for name in self.live}
        head = [self.master[n] for n in self.live if n.startswith(HEAD)]
        body = [self.master[n] for n in self.live if not n.startswith(HEAD)]
        groups = [
            {"params": [p for p in body if p.ndim > 1], "weight_decay": 0.01, "rate": rate},
            {"params": [p for p in body if p.ndim <= 1], "weight_decay": 0.0, "rate": rate},
            {"params": head, "weight_decay": 0.0, "rate": 5 * rate},
        ]
        return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)

    def step(self, optimiser: torch.optim.AdamW, *, clip: float = 1.0) -> float:
        """Move the gradients to the master weights, step, and bring the weights back.

        :returns: The norm of the gradients before clipping.
        """
        for name, parameter in self.live.items():
            self.master[name].grad = parameter.grad.float()
            parameter.grad = None
        norm = torch.nn.utils.clip_grad_norm_([self.master[name] for name in self.live], clip)
        optimiser.step()
        with torch.no_grad():
            for name, parameter in self.live.items():
                parameter.copy_(self.master[name])
        return norm.item()

    def weights(self) -> dict[str, torch.Tensor]:
        """Copy the fp32 weights."""
        return {name: p.detach().cpu().clone() for name, p in self.master.items()}


def _first_token(layer: BertLayer, hidden: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Run a layer for the first token alone: nothing reads the others after the last one."""
    attention, first = layer.attention.self, hidden[:, :1]
    split = (*hidden.shape[:1], -1, attention.num_attention_heads, attention.attention_head_size)
    query, key, value = (
        product(states).view(split).transpose(1, 2)
        for product, states in ((attention.query, first), (attention.key, hidden), (attention.value, hidden))
    )
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    attended = layer.attention.output(mixed.transpose(1, 2).reshape(first.shape), first)
    return layer.output(layer.intermediate(attended), attended)


def _hidden(output: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Unwrap what a layer gives back: a tensor, or in older versions of transformers a tuple."""
    return output[0] if isinstance(output, tuple) else output
