"""Matrix products of 8-bit integers, with ranges measured beforehand on French text.

Weights are rounded per output channel. Activations are rounded with fixed ranges, so that a logit depends on its pair
only: ranges taken from the batch, as dynamic quantisation does, make it depend on its neighbours. How the inputs of a
product are rounded is decided in `rounding`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from fr_reranker_plugin.scoring.forward.bfloat16_product import capabilities
from fr_reranker_plugin.scoring.forward.encoder_weights import Affine, gelu_in_place
from fr_reranker_plugin.scoring.forward.linear import Linear, Place, Scratch
from fr_reranker_plugin.scoring.forward.products import fed_forward
from fr_reranker_plugin.scoring.forward.rounding import HIGHEST, MIDDLE, fit_rounding, round_weight

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from fr_reranker_plugin.scoring.forward.encoder_weights import Activation

_FLOAT_CHANNELS: Final = 8
_HEADROOM: Final = 1.15
"""How far ranges reach beyond calibration text: other text goes further, and to cut it costs more than a wider step."""
_GELU_LOWEST: Final = -0.17
"""The least value of GELU, at -0.7518."""


class Int8Products:
    """Builds products of 8-bit integers.

    :param limits: Largest magnitude of each input channel on calibration text, by layer and place.
    :param projected: The dtype of queries, keys and values; everything else is given in float32.
    """

    def __init__(self, limits: Mapping[tuple[int, Place], Tensor], projected: torch.dtype) -> None:
        self._limits = {where: largest * _HEADROOM for where, largest in limits.items()}
        self._projected = projected
        self._scratch = Scratch()

    def linear(self, affine: Affine, layer: int, place: Place) -> Int8Linear:
        """Build one product."""
        import torch

        output = self._projected if place == "projections" else torch.float32
        return Int8Linear(affine, self._limits[layer, place], self._scratch, output=output)

    def feed_forward(self, first: Affine, second: Affine, layer: int, activation: Activation) -> Linear:
        """Build two products with an activation between them."""
        if activation is not gelu_in_place:
            return fed_forward(self, first, second, layer, activation)
        inputs, hidden = self._limits[layer, "intermediate"], self._limits[layer, "output"]
        return Int8FeedForward(first, second, inputs, hidden, self._scratch)


class Int8Linear:
    """A matrix product of rounded numbers, summed exactly and given as floating-point numbers.

    :param affine: The float32 weight and bias.
    :param limits: The range of each input channel, from its negative to it, shape (inputs,).
    :param scratch: Memory for the rounded rows.
    :param output: The dtype of the product.
    """

    def __init__(self, affine: Affine, limits: Tensor, scratch: Scratch, *, output: torch.dtype) -> None:
        self._rounding = fit_rounding(affine.weight, limits)
        self._product = _Product(self._rounding.spread(affine.weight), affine.bias, self._rounding.scale, MIDDLE)
        self._scratch, self._output = scratch, output

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply `rows`."""
        return self._product(self._rounding.rounded(rows, self._scratch), output=self._output)

    def gelu(self, rows: Tensor, *, scale: float, zero: int) -> Tensor:
        """Multiply `rows`, apply GELU, and round to unsigned integers `value / scale + zero`."""
        import torch

        integers = self._rounding.rounded(rows, self._scratch)
        return self._product(integers, output=torch.uint8, scale=scale, zero=zero, then="gelu")


class Int8FeedForward:
    """Two matrix products with a GELU between them that never leaves 8 bits, but for a few channels.

    The hidden channels that become largest stay in float32: they would stretch the one range that all channels share
    (Dettmers et al. 2022, "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale").

    :param inputs: The range of each input channel.
    :param hidden: The same of each channel after the GELU.
    """

    def __init__(self, first: Affine, second: Affine, inputs: Tensor, hidden: Tensor, scratch: Scratch) -> None:
        order = hidden.argsort(descending=True)
        large, usual = order[:_FLOAT_CHANNELS], order[_FLOAT_CHANNELS:].sort().values
        self._large = (first.weight[large], first.bias[large], second.weight[:, large].t().contiguous())
        self._first = Int8Linear(Affine(first.weight[usual], first.bias[usual]), inputs, scratch, output=hidden.dtype)
        self._scale = (float(hidden[usual].max()) - _GELU_LOWEST) / (2 * HIGHEST + 1)
        self._zero = round(-_GELU_LOWEST / self._scale)
        self._second = _Product(second.weight[:, usual], second.bias, self._scale, self._zero)

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply, apply GELU and multiply `rows`; gives float32."""
        import torch
        from torch.nn.functional import linear

        before, bias, after = self._large
        large = gelu_in_place(linear(rows, before, bias))
        usual = self._first.gelu(rows, scale=self._scale, zero=self._zero)
        return self._second(usual, output=torch.float32).addmm_(large, after)


class _Product:
    """An 8-bit weight in oneDNN's layout, one scale per output channel."""

    def __init__(self, weight: Tensor, bias: Tensor, input_scale: float, input_zero: int) -> None:
        import torch

        rounded, self._scales = round_weight(weight)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded.to(torch.int8), None)
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        self._bias = bias.float()
        self._input = (input_scale, input_zero)

    def __call__(
        self, rows: Tensor, *, output: torch.dtype, scale: float = 1.0, zero: int = 0, then: str = "none"
    ) -> Tensor:
        import torch

        weight = (self._weight, self._scales, self._zeros, self._bias)
        product = torch.ops.onednn.qlinear_pointwise(rows, *self._input, *weight, scale, zero, output, then, [], "none")
        return cast("Tensor", product)


def is_supported() -> bool:
    """Whether torch has 8-bit products and this CPU computes them exactly: AVX-512 VNNI or AVX-VNNI on x86."""
    import torch

    has = capabilities()
    return hasattr(torch.ops.onednn, "qlinear_pointwise") and any(has.get(name) for name in ("avx512_vnni", "avx_vnni"))
