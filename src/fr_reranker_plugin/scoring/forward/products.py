"""Which matrix products a model is built from, by device and dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from fr_reranker_plugin.scoring.forward.encoder import Layer, PackedForward
from fr_reranker_plugin.scoring.forward.encoder_weights import Affine, gelu_in_place
from fr_reranker_plugin.scoring.forward.linear import (
    Float32Linear,
    Linear,
    OneDnnLinear,
    Place,
    PlainLinear,
    Scratch,
    SplitLinear,
)

if TYPE_CHECKING:
    from torch import Tensor

    from fr_reranker_plugin.scoring.forward.attention import Attention
    from fr_reranker_plugin.scoring.forward.encoder_weights import Activation, EncoderWeights


class Products(Protocol):
    """Builds the matrix products of a model in one arithmetic."""

    def linear(self, affine: Affine, layer: int, place: Place) -> Linear:
        """Build one product."""

    def feed_forward(self, first: Affine, second: Affine, layer: int, activation: Activation) -> Linear:
        """Build two products with an activation between them."""


class FloatProducts:
    """Products of floating-point numbers, each built by `make`.

    :param make: Builds one product.
    :param make_with_gelu: Builds a product that applies GELU itself, where there is one.
    """

    def __init__(
        self, make: Callable[[Affine, Place], Linear], make_with_gelu: Callable[[Affine], Linear] | None = None
    ) -> None:
        self._make, self._make_with_gelu = make, make_with_gelu

    def linear(self, affine: Affine, layer: int, place: Place) -> Linear:  # noqa: ARG002 -- the layers are all alike
        """Build one product."""
        return self._make(affine, place)

    def feed_forward(self, first: Affine, second: Affine, layer: int, activation: Activation) -> Linear:
        """Build two products with an activation between them."""
        if self._make_with_gelu is None or activation is not gelu_in_place:
            return fed_forward(self, first, second, layer, activation)
        before, after = self._make_with_gelu(first), self.linear(second, layer, "output")
        return lambda rows: after(before(rows))


def fed_forward(products: Products, first: Affine, second: Affine, layer: int, activation: Activation) -> Linear:
    """Chain two products with an activation between them."""
    before, after = products.linear(first, layer, "intermediate"), products.linear(second, layer, "output")
    return lambda rows: after(activation(before(rows)))


class ObservedProducts:
    """Products that remember how large the numbers they read become: `limits`, by layer and place, one per channel."""

    def __init__(self, products: FloatProducts) -> None:
        self._products = products
        self.limits: dict[tuple[int, Place], Tensor] = {}

    def linear(self, affine: Affine, layer: int, place: Place) -> Linear:
        """Build one product that is observed."""
        import torch

        product = self._products.linear(affine, layer, place)
        limits = self.limits.setdefault((layer, place), torch.zeros(affine.weight.shape[1]))

        def observed(rows: Tensor) -> Tensor:
            torch.maximum(limits, rows.abs().amax(dim=0), out=limits)
            return product(rows)

        return observed

    def feed_forward(self, first: Affine, second: Affine, layer: int, activation: Activation) -> Linear:
        """Build two products that are observed."""
        return fed_forward(self, first, second, layer, activation)


def float_products(device: str, dtype: str) -> FloatProducts:
    """Choose how floating-point numbers are multiplied on a device, exactly in `dtype`."""
    if device != "cpu":
        return FloatProducts(lambda affine, _: PlainLinear(affine))
    if dtype == "bfloat16":
        return FloatProducts(lambda affine, _: PlainLinear(Affine(affine.weight.bfloat16(), affine.bias.bfloat16())))
    if OneDnnLinear.is_available():
        return FloatProducts(lambda affine, _: OneDnnLinear(affine), lambda affine: OneDnnLinear(affine, "gelu"))
    scratch = Scratch()
    return FloatProducts(lambda affine, place: Float32Linear(affine, place, scratch))


def split_products() -> FloatProducts:
    """Give float32 products that are computed as three bfloat16 ones each."""
    scratch = Scratch()
    return FloatProducts(lambda affine, place: SplitLinear(affine, place, scratch))


def assemble(weights: EncoderWeights, products: Products, attention: Attention) -> PackedForward:
    """Build the forward pass of `weights` out of `products`."""
    width = weights.embeddings.words.shape[1]
    layers = []
    for number, layer in enumerate(weights.layers):
        is_last = number == len(weights.layers) - 1
        query, key_value = layer.qkv.split(width)
        layers.append(
            Layer(
                layer,
                weights.heads,
                query=products.linear(query, number, "projections") if is_last else None,
                projections=products.linear(key_value if is_last else layer.qkv, number, "projections"),
                attention_output=products.linear(layer.attention_output, number, "attention output"),
                feed_forward=products.feed_forward(layer.intermediate, layer.output, number, weights.activation),
            )
        )
    return PackedForward(weights.embeddings, layers[:-1], layers[-1], weights.head, attention)
