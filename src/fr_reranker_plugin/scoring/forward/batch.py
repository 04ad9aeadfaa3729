"""Pairs, or single texts, of different lengths as one row of tokens, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Self

from fr_reranker_plugin.scoring.forward.attention import Layout
from fr_reranker_plugin.scoring.forward.transfer import on_device
from fr_reranker_plugin.scoring.scorer import EncodedPair

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor


_SMALL_BATCH: Final = 256
_SMALL_TOKEN_STEP: Final = 16
_TOKEN_STEP: Final = 32
_PAIR_STEP: Final = 8
"""Numbers of tokens and of pairs are rounded up to multiples of these on a CPU; fewer than eight pairs are not."""


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """What the embeddings and the attention need to know of a batch; every tensor is on the device.

    :param token_ids: Shape (tokens,), int64: the pairs one after another.
    :param positions: Shape (tokens,), int64: counted anew in every pair.
    :param type_ids: Shape (tokens,), int64, or `None` for families without.
    :param read: Shape (pairs,), int64: the rows that the head reads, where each pair begins; `None`: all rows.
    :param layout: Where each pair lies.
    :param layout_of_read: The same among the rows that the head reads.
    """

    token_ids: Tensor
    positions: Tensor
    type_ids: Tensor | None
    read: Tensor | None
    layout: Layout
    layout_of_read: Layout

    @classmethod
    def of(
        cls,
        pairs: Sequence[EncodedPair],
        numbering: Numbering,
        device: torch.device,
        *,
        read: Literal["first", "all"] = "first",
    ) -> Self:
        """Lay `pairs` out on `device`.

        :param read: Which tokens of each the head reads: the first one, or all of them.
        """
        import numpy as np

        lengths = [len(pair.token_ids) for pair in pairs]
        tokens = np.concatenate([pair.token_ids for pair in pairs], dtype=np.int64)
        numbers = [tokens, numbering.positions(tokens, lengths)]
        if numbering.has_types:
            numbers.append(np.concatenate([pair.type_ids for pair in pairs], dtype=np.int64))
        token_ids, positions, *type_ids = on_device(np.stack(numbers), device)
        layout = Layout.of(lengths, device)
        types = type_ids[0] if type_ids else None
        if read == "all":
            return cls(token_ids, positions, types, None, layout, layout)
        alone = Layout.of([1] * len(pairs), device)
        return cls(token_ids, positions, types, layout.bounds[:-1].long(), layout, alone)


@dataclass(frozen=True, slots=True)
class Numbering:
    """How a family numbers the tokens of a pair.

    :param first: Position of the first token: 0, or the padding's id plus one in the RoBERTa family.
    :param skipped: A token id that takes no position of its own (RoBERTa's padding, where a text spells it).
    :param has_types: Whether the query's tokens and the passage's have type ids.
    """

    first: int
    skipped: int | None
    has_types: bool

    def positions(self, token_ids: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
        """Give the position of each token, counted anew in every pair.

        :param token_ids: Shape (tokens,), int64: the pairs one after another.
        :param lengths: Tokens of each pair, at least one.
        """
        import numpy as np

        kept = np.ones_like(token_ids) if self.skipped is None else (token_ids != self.skipped).astype(np.int64)
        counted = kept.cumsum()
        before = (counted - kept)[np.cumsum([0, *lengths[:-1]])]
        positions: np.ndarray = self.first - 1 + kept * (counted - np.repeat(before, lengths))
        return positions


def rounded_up(pairs: Sequence[EncodedPair], device: torch.device) -> list[EncodedPair]:
    """Give `pairs` and behind them a few that nobody reads, so that batches have few different sizes.

    oneDNN prepares each of its products for each number of rows anew, and keeps what it prepared: with every size that
    comes, a process would grow by hundreds of MiB. On a GPU the pairs are given back as they are.
    """
    if device.type != "cpu":
        return list(pairs)
    tokens, count = sum(len(pair.token_ids) for pair in pairs), len(pairs)
    more = 1 if count < _PAIR_STEP else _PAIR_STEP - count % _PAIR_STEP
    step = _TOKEN_STEP if tokens > _SMALL_BATCH else _SMALL_TOKEN_STEP
    filling = more + -(tokens + more) % step
    lengths = [1] * (more - 1) + [filling - more + 1]
    return [*pairs, *(EncodedPair([0] * length, [0] * length, truncated=False) for length in lengths)]
