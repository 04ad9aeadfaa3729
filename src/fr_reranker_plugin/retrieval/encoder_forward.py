"""From token ids to unit vectors: without padding where the family is known, else through transformers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol, Self

from fr_reranker_plugin.retrieval.encoder_files import Pooling, Prefixes
from fr_reranker_plugin.retrieval.text_tokenizer import TextTokenizer
from fr_reranker_plugin.scoring.forward.batch import Numbering, PackedBatch, rounded_up
from fr_reranker_plugin.scoring.scorer import EncodedPair, Pair

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

    from fr_reranker_plugin.scoring.forward.attention import Layout
    from fr_reranker_plugin.scoring.forward.encoder import PackedForward
    from fr_reranker_plugin.scoring.forward.encoder_weights import Head

_TEXTS_AT_ONCE: Final = 16


class TextForward(Protocol):
    """A loaded model that turns encoded texts into unit vectors."""

    @property
    def pads(self) -> bool:
        """Whether a batch costs its longest text times its texts."""

    def __call__(self, batch: Sequence[EncodedPair]) -> Tensor:
        """Give the unit vectors of `batch` on the model's device: float32, shape (texts, dimension)."""


class PackedTexts:
    """The forward pass of the cross-encoders, with a pooling for a head.

    :param forward: The encoder and its pooling, on `device`.
    :param numbering: How the model numbers tokens.
    :param pooling: Which tokens are read.
    """

    def __init__(self, forward: PackedForward, numbering: Numbering, pooling: Pooling, device: torch.device) -> None:
        self._forward, self._numbering, self._pooling, self._device = forward, numbering, pooling, device
        self.pads = forward.pads

    @classmethod
    def of_model(
        cls, model: PreTrainedModel, tokenizer: TextTokenizer, dtype: str, *, pooling: Pooling, prefixes: Prefixes
    ) -> Self:
        """Build the forward pass from the weights of `model`, which stays as it was.

        :param dtype: A resolved dtype of `ModelSettings`.
        :param prefixes: Stand before the French texts on which the arithmetic is tried.
        """
        from fr_reranker_plugin.scoring.forward.encoder_weights import read_weights
        from fr_reranker_plugin.scoring.forward.precision import build_forward

        weights, device = read_weights(model, head=pooled_by(pooling)), model.device
        tables = weights.embeddings
        numbering = Numbering(tables.first_position, tables.skipped, has_types=False)

        def batches(pairs: Iterable[Pair]) -> Iterator[PackedBatch]:
            texts = [text for pair in pairs for text in map(str.__add__, prefixes, pair)]
            encoded = tokenizer.encode(texts)
            for start in range(0, len(encoded), _TEXTS_AT_ONCE):
                yield _packed(encoded[start : start + _TEXTS_AT_ONCE], numbering, pooling, device)

        return cls(build_forward(weights, dtype, device, batches), numbering, pooling, device)

    def __call__(self, batch: Sequence[EncodedPair]) -> Tensor:
        """Give the unit vectors of `batch`; texts of like length should stand together."""
        texts = rounded_up(batch, self._device)
        return self._forward(_packed(texts, self._numbering, self._pooling, self._device))[: len(batch)]


class PaddedTexts:
    """The forward pass of transformers, for families that we do not know.

    :param model: The encoder, on its device.
    :param pad_token_id: What short texts are filled up with.
    :param pooling: How the token vectors become the vector of the text.
    """

    pads: Final = True

    def __init__(self, model: PreTrainedModel, pad_token_id: int, pooling: Pooling) -> None:
        self._model, self._pad_token_id, self._pooling = model, pad_token_id, pooling

    def __call__(self, batch: Sequence[EncodedPair]) -> Tensor:
        """Give the unit vectors of `batch`."""
        import torch
        from torch.nn.functional import normalize

        device = self._model.device
        rows = [torch.tensor(text.token_ids) for text in batch]
        input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self._pad_token_id).to(device)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        mask = torch.arange(input_ids.shape[1], device=device) < lengths[:, None]
        tokens = self._model(input_ids=input_ids, attention_mask=mask.long()).last_hidden_state.float()
        if self._pooling == "cls":
            return normalize(tokens[:, 0], dim=-1)
        sums = (tokens * mask.unsqueeze(-1)).sum(dim=1)
        return normalize(sums / lengths[:, None], dim=-1)


def pooled_by(pooling: Pooling) -> Head:
    """Give the head that makes unit vectors of hidden states: of each text's mean, or of its first token."""

    def head(rows: Tensor, layout: Layout) -> Tensor:
        import torch
        from torch.nn.functional import normalize

        vectors = rows.float()
        if pooling == "mean":
            lengths = layout.bounds.diff().long()
            vectors = torch.segment_reduce(vectors, "mean", lengths=lengths, unsafe=True)
        return normalize(vectors, dim=-1)

    return head


def _packed(texts: Sequence[EncodedPair], numbering: Numbering, pooling: Pooling, device: torch.device) -> PackedBatch:
    return PackedBatch.of(texts, numbering, device, read="all" if pooling == "mean" else "first")
