"""The matrix products of the forward pass, in the arithmetic that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, cast

from fr_reranker_plugin.scoring.forward.bfloat16_product import add_product, capabilities

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fr_reranker_plugin.scoring.forward.encoder_weights import Affine

Linear = Callable[["Tensor"], "Tensor"]
"""From rows of shape (rows, inputs) to rows of shape (rows, outputs), good until the next product at that place."""

Place = Literal["projections", "attention output", "intermediate", "output"]
"""Where in a layer a product stands; all products of one place read the same rows."""


class Scratch:
    """Memory that every product of one engine uses again: on a CPU, fresh pages cost more than many a computation."""

    def __init__(self) -> None:
        self._memory: dict[tuple[str, int, torch.dtype], Tensor] = {}

    def rows(self, use: str, count: int, width: int, dtype: torch.dtype) -> Tensor:
        """Give `count` rows with whatever they hold; the next call for the same use gives them again."""
        import torch

        memory = self._memory.get((use, width, dtype))
        if memory is None or len(memory) < count:
            memory = self._memory[use, width, dtype] = torch.empty(count, width, dtype=dtype)
        return memory[:count]


class PlainLinear:
    """A matrix product in the dtype of the weight."""

    def __init__(self, affine: Affine) -> None:
        self._weight, self._bias = affine

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply `rows`, converted to the weight's dtype."""
        from torch.nn.functional import linear

        return linear(rows.to(self._weight.dtype), self._weight, self._bias)


class Float32Linear:
    """A float32 matrix product on a CPU."""

    def __init__(self, affine: Affine, place: Place, scratch: Scratch) -> None:
        self._weight, self._bias = affine.weight.t(), affine.bias
        self._place, self._scratch = place, scratch

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply `rows`, float32."""
        import torch

        product = self._scratch.rows(self._place, len(rows), len(self._bias), torch.float32)
        return torch.addmm(self._bias, rows, self._weight, out=product)


class OneDnnLinear:
    """A float32 matrix product by oneDNN, with the weight laid out once for this CPU.

    torch's other float32 products are oneMKL's, which chooses its kernels by the vendor of the CPU and reads the weight
    anew in every product; oneDNN chooses by the instructions that are there.

    :param activation: What is applied to the product before it is stored: `"none"`, or `"gelu"` in its exact form.
    """

    def __init__(self, affine: Affine, activation: Literal["none", "gelu"] = "none") -> None:
        import torch

        self._weight = torch.ops.mkldnn._reorder_linear_weight(affine.weight.detach())
        self._bias, self._activation = affine.bias.detach(), activation

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply `rows`, float32."""
        import torch

        product = torch.ops.mkldnn._linear_pointwise(
            rows, self._weight, self._bias, self._activation, [], "none" if self._activation == "gelu" else ""
        )
        return cast("Tensor", product)

    @staticmethod
    def is_available() -> bool:
        """Whether this build of torch has these products, and this CPU the instructions that they gain from."""
        import torch

        ops = torch.ops.mkldnn
        has_ops = hasattr(ops, "_reorder_linear_weight") and hasattr(ops, "_linear_pointwise")
        return has_ops and torch._C._has_mkldnn and capabilities().get("avx2", False)


class SplitLinear:
    """A float32 matrix product out of three bfloat16 ones, for CPUs whose tile units (AMX) know bfloat16 only.

    A float32 number is the sum of two bfloat16 numbers to 16 bits; of the four products of two such sums, the one of
    the small parts is below that and left out (Henry, Tang, Heinecke 2019, "Leveraging the bfloat16 artificial
    intelligence datatype for higher-precision computations"). Sums are kept in float32.
    """

    def __init__(self, affine: Affine, place: Place, scratch: Scratch) -> None:
        self._high, self._low = _split(affine.weight, Scratch())
        self._bias = affine.bias
        self._place, self._scratch = place, scratch

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply `rows`, float32."""
        import torch

        product = self._scratch.rows(self._place, len(rows), len(self._bias), torch.float32).copy_(self._bias)
        high, low = _split(rows, self._scratch)
        for part, weight in ((high, self._high), (low, self._high), (high, self._low)):
            add_product(part, weight, product)
        return product


def _split(numbers: Tensor, scratch: Scratch) -> tuple[Tensor, Tensor]:
    """Give two bfloat16 tensors whose sum is `numbers`, float32, to 16 bits."""
    import torch

    count, width = numbers.shape
    high = scratch.rows("high", count, width, torch.bfloat16).copy_(numbers)
    rest = scratch.rows("rest", count, width, torch.float32).copy_(high)
    low = scratch.rows("low", count, width, torch.bfloat16).copy_(torch.sub(numbers, rest, out=rest))
    return high, low
