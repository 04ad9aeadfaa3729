"""Attention among the tokens of each pair of a packed batch, and of no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Self, cast

from fr_reranker_plugin.scoring.forward.transfer import on_device

if TYPE_CHECKING:
    import torch
    from torch import Tensor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the sequences of a packed batch lie: one after another, without padding.

    :param lengths: Rows of each sequence.
    :param bounds: Sums of the lengths from 0 on, as int32 on the device: one more entry than there are sequences.
    """

    lengths: list[int]
    bounds: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Self:
        """Lay out sequences of these lengths."""
        import torch

        return cls(list(lengths), on_device([0, *accumulate(lengths)], torch.int32, device))

    @property
    def longest(self) -> int:
        """Rows of the longest sequence."""
        return max(self.lengths)


Attention = Callable[["Tensor", "Tensor", "Tensor", Layout, Layout], "Tensor"]
"""From queries, keys and values, each of shape (rows, heads, head width), with the layout of the queries and that of
the keys and values, to one context per query of the same shape."""


def attend_by_length(queries: Tensor, keys: Tensor, values: Tensor, of_queries: Layout, of_keys: Layout) -> Tensor:
    """Attend in one call per run of sequences of equal length: no padding, no mask. For the CPU."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    _, heads, width = keys.shape
    context = torch.empty(len(queries), heads, width, dtype=queries.dtype, device=queries.device)
    asked = read = 0
    for (rows_asked, rows_read), run in groupby(zip(of_queries.lengths, of_keys.lengths, strict=True)):
        count = len(list(run))
        these, those = slice(asked, asked + count * rows_asked), slice(read, read + count * rows_read)
        asked, read = these.stop, those.stop
        q = queries[these].view(count, rows_asked, heads, width).transpose(1, 2)
        k, v = (rows[those].view(count, rows_read, heads, width).transpose(1, 2) for rows in (keys, values))
        found = scaled_dot_product_attention(q, k, v)
        context[these].view(count, rows_asked, heads, width).copy_(found.transpose(1, 2))
    return context


def attend_padded(queries: Tensor, keys: Tensor, values: Tensor, of_queries: Layout, of_keys: Layout) -> Tensor:
    """Attend in one call over padded queries, keys and values; only the attention is padded. Runs anywhere."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    asked, read = _places(of_queries), _places(of_keys)
    q, k, v = _padded(queries, asked), _padded(keys, read), _padded(values, read)
    found = scaled_dot_product_attention(q, k, v, attn_mask=(read >= 0)[:, None, None])
    return torch.masked_select(found.transpose(1, 2), (asked >= 0)[:, :, None, None]).view(queries.shape)


def attend_variable_length(
    queries: Tensor, keys: Tensor, values: Tensor, of_queries: Layout, of_keys: Layout
) -> Tensor:
    """Attend with torch's own flash kernel for packed sequences: CUDA, in float16 or bfloat16, from torch 2.10 on."""
    from torch.nn.attention.varlen import varlen_attn

    found = varlen_attn(queries, keys, values, of_queries.bounds, of_keys.bounds, of_queries.longest, of_keys.longest)
    return cast("Tensor", found)


def _places(layout: Layout) -> Tensor:
    """Give the row of each place of the padded batch, shape (sequences, longest); -1 where there is none."""
    import torch

    bounds = layout.bounds.long()
    step = torch.arange(layout.longest, device=bounds.device)
    places = bounds[:-1, None] + step
    return places.masked_fill(places >= bounds[1:, None], -1)


def _padded(rows: Tensor, places: Tensor) -> Tensor:
    return rows[places.clamp(min=0)].transpose(1, 2)


def choose_attention(device: torch.device, dtype: torch.dtype) -> Attention:
    """Give the fastest attention that runs on `device` in `dtype`; a slower choice than wished for is logged."""
    import torch

    if device.type != "cuda":
        return attend_by_length
    if dtype in (torch.float16, torch.bfloat16):
        try:
            from torch.nn.attention.varlen import varlen_attn  # noqa: F401 -- is it there?
        except ImportError:
            logger.warning(
                "torch %s has no attention over packed sequences (from 2.10 on); it is padded", torch.__version__
            )
        else:
            return attend_variable_length
    return attend_padded
