"""Even out what the products of an encoder read, so that 8 bits hold it.

A few channels of a transformer's activations are far larger than the others, and one range for all of them leaves the
others a handful of steps. Each channel is divided by a factor that its weights are multiplied by, which changes nothing
but the rounding: SmoothQuant (Xiao et al. 2023, "SmoothQuant: Accurate and Efficient Post-Training Quantization for
Large Language Models"), with the migration strength 0.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel

ENCODERS: Final = ("encoder", "transformer")
"""What the families of models call the module that holds their layers."""

_LEAST: Final = 1e-5


def smooth_encoder(model: PreTrainedModel, batches: Iterable[Mapping[str, Any]]) -> None:
    """Replace the linear layers of the encoder, in place; the logits stay the same up to rounding of float32.

    :param batches: Inputs on which the range of each channel is taken.
    """
    import torch

    linears = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and any(part in ENCODERS for part in name.split("."))
    }
    limits = _limits(model, linears, batches)
    for name, linear in linears.items():
        largest = linear.weight.detach().abs().amax(dim=0).clamp(min=_LEAST)
        smooth = (limits[name].clamp(min=_LEAST) / largest).sqrt()
        linear.weight.data *= smooth
        model.set_submodule(name, torch.nn.Sequential(_scale(1 / smooth), linear))


def _limits(
    model: PreTrainedModel, linears: Mapping[str, Module], batches: Iterable[Mapping[str, Any]]
) -> dict[str, Tensor]:
    """Give the largest magnitude of each input channel, by name of the layer."""
    import torch

    found: dict[str, Tensor] = {}

    def observe(name: str, rows: Tensor) -> None:
        largest = rows.detach().abs().flatten(end_dim=-2).amax(dim=0)
        found[name] = torch.maximum(found[name], largest) if name in found else largest

    hooks = [
        linear.register_forward_pre_hook(lambda _, inputs, name=name: observe(name, inputs[0]))
        for name, linear in linears.items()
    ]
    with torch.inference_mode():
        for batch in batches:
            model(**batch)
    for hook in hooks:
        hook.remove()
    return found


def _scale(factors: Tensor) -> Module:
    import torch

    class Scale(torch.nn.Module):
        factors: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("factors", factors)

        def forward(self, rows: Tensor) -> Tensor:
            return rows * self.factors

    return Scale()
