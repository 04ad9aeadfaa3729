"""The weights of an encoder, named alike for every supported family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from fr_reranker_plugin.scoring.forward.attention import Layout

Activation = Callable[["Tensor"], "Tensor"]
"""Applied between the two products of the feed-forward part; may work in place."""

Head = Callable[["Tensor", "Layout"], "Tensor"]
"""From the last hidden states of the tokens that are read, shape (rows, width), and where each pair's lie, to what the
model says of each pair. A cross-encoder reads first tokens only, and gives logits, shape (pairs,)."""


class Affine(NamedTuple):
    """`rows @ weight.T + bias`; the weight has shape (outputs, inputs)."""

    weight: Tensor
    bias: Tensor

    def split(self, outputs: int) -> tuple[Affine, Affine]:
        """Give the product of the first `outputs` outputs, and that of the others."""
        return Affine(self.weight[:outputs], self.bias[:outputs]), Affine(self.weight[outputs:], self.bias[outputs:])


class Norm(NamedTuple):
    """A layer normalisation over the width."""

    weight: Tensor
    bias: Tensor
    epsilon: float


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One transformer layer that normalises after each residual sum; `qkv` stacks query, key and value."""

    qkv: Affine
    attention_output: Affine
    attention_norm: Norm
    intermediate: Affine
    output: Affine
    output_norm: Norm


@dataclass(frozen=True, slots=True)
class EmbeddingWeights:
    """Tables that are summed and normalised.

    :param types: One row per type id, or `None` if the family has none.
    :param first_position: Number of the first token's position.
    :param skipped: Token id that takes no position of its own (RoBERTa's padding, if a text spells it), or `None`.
    """

    words: Tensor
    positions: Tensor
    types: Tensor | None
    norm: Norm
    first_position: int
    skipped: int | None


@dataclass(frozen=True, slots=True)
class EncoderWeights:
    """A whole model; `heads` is the number of attention heads."""

    embeddings: EmbeddingWeights
    layers: list[LayerWeights]
    heads: int
    activation: Activation
    head: Head


def read_weights(model: PreTrainedModel, *, head: Head | None = None) -> EncoderWeights:
    """Take the weights out of a model of a supported family; tables are not copied.

    :param head: What reads the last hidden states; `None`: the head of a `*ForSequenceClassification` model.
    """
    distilled = model.config.model_type == "distilbert"
    encoder: Any = model.base_model
    layers = encoder.transformer.layer if distilled else encoder.encoder.layer
    return EncoderWeights(
        embeddings=_embeddings(encoder.embeddings, model.config.model_type),
        layers=[_distilled_layer(layer) if distilled else _layer(layer) for layer in layers],
        heads=model.config.n_heads if distilled else model.config.num_attention_heads,
        activation=_activation(model.config.activation if distilled else model.config.hidden_act),
        head=head or _head(model),
    )


def gelu_in_place(rows: Tensor) -> Tensor:
    """Apply the exact GELU, `x * Phi(x)`, to `rows` itself."""
    import torch

    torch.ops.aten.gelu_(rows)
    return rows


def _activation(name: str) -> Activation:
    from transformers.activations import ACT2FN

    return gelu_in_place if name == "gelu" else ACT2FN[name]


def _embeddings(module: Any, family: str) -> EmbeddingWeights:
    types = getattr(module, "token_type_embeddings", None)
    padding = module.padding_idx if family in ("xlm-roberta", "roberta", "camembert") else None
    return EmbeddingWeights(
        words=module.word_embeddings.weight,
        positions=module.position_embeddings.weight,
        types=None if types is None else types.weight,
        norm=_norm(module.LayerNorm),
        first_position=0 if padding is None else padding + 1,
        skipped=padding,
    )


def _layer(layer: Any) -> LayerWeights:
    attention, output = layer.attention.self, layer.attention.output
    return LayerWeights(
        qkv=_stacked(attention.query, attention.key, attention.value),
        attention_output=_affine(output.dense),
        attention_norm=_norm(output.LayerNorm),
        intermediate=_affine(layer.intermediate.dense),
        output=_affine(layer.output.dense),
        output_norm=_norm(layer.output.LayerNorm),
    )


def _distilled_layer(layer: Any) -> LayerWeights:
    attention = layer.attention
    return LayerWeights(
        qkv=_stacked(attention.q_lin, attention.k_lin, attention.v_lin),
        attention_output=_affine(attention.out_lin),
        attention_norm=_norm(layer.sa_layer_norm),
        intermediate=_affine(layer.ffn.lin1),
        output=_affine(layer.ffn.lin2),
        output_norm=_norm(layer.output_layer_norm),
    )


def _head(model: Any) -> Head:
    """Give the head in float32: its few operations decide the order of close passages."""
    from torch.nn.functional import relu

    classifier = model.classifier.float()
    if model.config.model_type == "distilbert":
        before = model.pre_classifier.float()
        return lambda rows, _: classifier(relu(before(rows.float()))).squeeze(-1)
    if model.config.model_type == "bert":
        pooler = model.base_model.pooler.float()
        return lambda rows, _: classifier(pooler(rows.float()[:, None])).squeeze(-1)
    return lambda rows, _: classifier(rows.float()[:, None]).squeeze(-1)


def _stacked(*modules: Any) -> Affine:
    import torch

    return Affine(torch.cat([m.weight for m in modules]), torch.cat([m.bias for m in modules]))


def _affine(module: Any) -> Affine:
    return Affine(module.weight, module.bias)


def _norm(module: Any) -> Norm:
    return Norm(module.weight, module.bias, module.eps)
