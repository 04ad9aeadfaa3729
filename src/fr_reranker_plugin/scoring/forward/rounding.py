"""How the inputs of an 8-bit product are rounded so that little is lost.

All channels share one step. Two things keep it small although some channels are far larger than others:

- A factor per channel moves from the activations into the weights (Xiao et al. 2023, "SmoothQuant: Accurate and
  Efficient Post-Training Quantization for Large Language Models"), with the migration strength of that article, 0.5.
- The largest channels are written several times, each time with a share of the value and another rounding offset, so
  that the shares add up to the value rounded with the common step: outlier channel splitting (Zhao et al. 2019,
  "Improving Neural Network Quantization without Retraining using Outlier Channel Splitting"), here with the identity of
  Hermite, floor(y) = sum of floor((y + i) / n) for i from 0 to n - 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

    from fr_reranker_plugin.scoring.forward.linear import Scratch

HIGHEST: Final = 127
MIDDLE: Final = 128
"""Activations are unsigned, with zero in the middle: what the processors' instructions take."""

_CHANNELS_PER_COPY: Final = 24
"""One more column is spent on large channels for so many that there are."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """From float32 rows of shape (rows, inputs) to unsigned integers of shape (rows, inputs + copies).

    :param scale: The step that all columns share, after `factors`.
    :param factors: What each column's channel is multiplied by, shape (inputs + copies,).
    :param offsets: What is added before rounding down, shape (inputs + copies,): 128 and the rounding offset.
    :param copied: The channels of the columns beyond the inputs, shape (copies,).
    :param smooth: By what each channel was divided, shape (inputs,).
    """

    scale: float
    factors: Tensor
    offsets: Tensor
    copied: Tensor
    smooth: Tensor

    def rounded(self, rows: Tensor, scratch: Scratch) -> Tensor:
        """Round `rows`; what is beyond the range is cut to it."""
        import torch

        count, width = rows.shape
        columns = len(self.factors)
        scaled = scratch.rows("scaled", count, columns, torch.float32)
        torch.addcmul(self.offsets[:width], rows, self.factors[:width], out=scaled[:, :width])
        if columns > width:
            copies = rows.index_select(1, self.copied)
            torch.addcmul(self.offsets[width:], copies, self.factors[width:], out=scaled[:, width:])
        # torch turns float32 into uint8 one number at a time, and takes a detour over int16 in a fifth of the time.
        whole = scratch.rows("whole", count, columns, torch.int16).copy_(scaled.clamp_(0, 2 * HIGHEST + 1))
        return scratch.rows("rounded", count, columns, torch.uint8).copy_(whole)

    def spread(self, weight: Tensor) -> Tensor:
        """Give the weight for the columns: smoothed, with large channels as often as they stand there."""
        import torch

        smoothed = weight * self.smooth
        return torch.cat([smoothed, smoothed[:, self.copied]], dim=1)


def fit_rounding(weight: Tensor, limits: Tensor) -> Rounding:
    """Choose the rounding for the rows of one product.

    :param weight: Shape (outputs, inputs).
    :param limits: The range of each input channel, from its negative to it, shape (inputs,).
    """
    import torch

    limits = limits.clamp(min=1e-5)
    smooth = (limits / weight.abs().amax(dim=0).clamp(min=1e-5)).sqrt()
    ranges = limits / smooth
    times = _times(ranges, len(limits) // _CHANNELS_PER_COPY)
    channels = torch.arange(len(limits))
    copied = channels.repeat_interleave(times - 1)
    columns = torch.cat([channels, copied])
    number = torch.cat([torch.zeros_like(channels), *(torch.arange(1, int(n)) for n in times if n > 1)])
    share = times[columns].float()
    scale = float((ranges / times).max()) / HIGHEST
    factors = 1 / (smooth[columns] * scale * share)
    return Rounding(scale, factors, MIDDLE + (0.5 + number) / share, copied, smooth)


def _times(ranges: Tensor, copies: int) -> Tensor:
    """Give how often each channel is written: the largest share is split until all copies are spent."""
    import torch

    times = torch.ones(len(ranges), dtype=torch.int64)
    for _ in range(copies):
        times[(ranges / times).argmax()] += 1
    return times


def round_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Give whole numbers from -127 to 127 and one scale per output channel: `weight` is about their product."""
    import torch

    scales = (weight.abs().amax(dim=1) / HIGHEST).clamp(min=torch.finfo(torch.float32).tiny)
    return (weight / scales[:, None]).round(), scales
