"""Attention among the tokens of each pair of a packed batch, and of no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Final, Self, cast

from fr_reranker_plugin.scoring.forward.transfer import on_device

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

logger = logging.getLogger(__name__)

_OLDEST_CAPABILITY: Final = (8, 0)
_STEP_OF_WIDTH: Final = 8
_LARGEST_WIDTH: Final = 256
"""What torch's flash kernel asks for: `torch.nn.attention.varlen` refuses the rest only when it is called."""


@dataclass(frozen=True)
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
        return cls(list(lengths), on_device(bounds_of(lengths), device))

    @property
    def longest(self) -> int:
        """Rows of the longest sequence."""
        return max(self.lengths)

    @cached_property
    def padding(self) -> Padding:
        """How the sequences are padded to the longest; the layers of a pass share it."""
        return Padding.of(self.lengths, self.bounds.device)


@dataclass(frozen=True, slots=True)
class Padding:
    """Where packed rows stand once every sequence is as long as the longest; every tensor is on the device.

    :param rows: Shape (sequences, longest), int64: the row in each place; past its end, a sequence repeats its last.
    :param filled: Shape (sequences, longest), bool: false past the end.
    :param places: Shape (rows,), int64: the place of each row, counted through all sequences.
    """

    rows: Tensor
    filled: Tensor
    places: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Self:
        """Pad sequences of these lengths, each at least 1. Nothing is read from the device, which would stop it."""
        import numpy as np

        filled = np.arange(max(lengths)) < np.array(lengths)[:, None]
        rows = filled.cumsum().reshape(filled.shape) - 1
        return cls(*(on_device(numbers, device) for numbers in (rows, filled, np.flatnonzero(filled))))


def bounds_of(lengths: Sequence[int]) -> np.ndarray:
    """Give where sequences of these lengths begin, and the last one ends: int32, one more than there are sequences."""
    import numpy as np

    return np.cumsum([0, *lengths], dtype=np.int32)


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
    from torch.nn.functional import scaled_dot_product_attention

    asked, read = of_queries.padding, of_keys.padding
    q = queries[asked.rows].transpose(1, 2)
    k, v = (rows[read.rows].transpose(1, 2) for rows in (keys, values))
    found = scaled_dot_product_attention(q, k, v, attn_mask=read.filled[:, None, None])
    return found.transpose(1, 2).flatten(0, 1)[asked.places]


def attend_variable_length(
    queries: Tensor, keys: Tensor, values: Tensor, of_queries: Layout, of_keys: Layout
) -> Tensor:
    """Attend with torch's own flash kernel for packed sequences: CUDA, in float16 or bfloat16, from torch 2.10 on."""
    from torch.nn.attention.varlen import varlen_attn

    found = varlen_attn(queries, keys, values, of_queries.bounds, of_keys.bounds, of_queries.longest, of_keys.longest)
    return cast("Tensor", found)


def choose_attention(device: torch.device, dtype: torch.dtype, head_width: int) -> Attention:
    """Give the fastest attention that runs on `device` in `dtype`; a slower choice than wished for is logged.

    :param head_width: Numbers in a query or key of one head.
    """
    import torch

    if device.type != "cuda":
        return attend_by_length
    if dtype not in (torch.float16, torch.bfloat16):
        return attend_padded
    lack = _lack_of_kernel(device, head_width)
    if lack is None:
        return attend_variable_length
    logger.warning("%s; the attention is padded, which is slower", lack)
    return attend_padded


def _lack_of_kernel(device: torch.device, head_width: int) -> str | None:
    """Say why `attend_variable_length` cannot run on a CUDA device; `None`: it can."""
    import torch

    try:
        from torch.nn.attention.varlen import varlen_attn  # noqa: F401 -- is it there?
    except ImportError:
        return f"torch {torch.__version__} has no attention over packed sequences (from 2.10 on)"
    if torch.cuda.get_device_capability(device) < _OLDEST_CAPABILITY:
        return f"packed attention needs a GPU of the Ampere generation or later, and {device} is older"
    if head_width % _STEP_OF_WIDTH or head_width > _LARGEST_WIDTH:
        return (
            f"packed attention needs heads whose width is a multiple of {_STEP_OF_WIDTH} and at most "
            f"{_LARGEST_WIDTH}, and this model's is {head_width}"
        )
    return None
