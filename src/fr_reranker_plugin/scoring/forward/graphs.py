"""Small batches as CUDA graphs: one launch in the place of some two hundred.

A request of twenty passages keeps a GPU busy for less time than it takes to launch its kernels one by one. A graph is
recorded once and launched whole, but only for one shape: so a batch is written into the next larger shape, and what is
left of it is filled with sequences that nobody reads. They change no logit, because only the attention looks beyond a
row, and it looks at one sequence.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from fr_reranker_plugin.scoring.faults import release
from fr_reranker_plugin.scoring.forward.attention import Layout, attend_variable_length, bounds_of
from fr_reranker_plugin.scoring.forward.batch import PackedBatch
from fr_reranker_plugin.scoring.forward.transfer import on_device

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fr_reranker_plugin.scoring.forward.encoder import PackedForward

logger = logging.getLogger(__name__)

_TOKENS: Final = (128, 256, 512, 1024, 2048, 4096)
"""Beyond the last, the GPU is busy for longer than launching takes."""
_TOKENS_OF_A_SEQUENCE: Final = 24
_FEWEST_SEQUENCES: Final = 8
_RUNS_BEFORE_RECORDING: Final = 2
"""What libraries set up at first use must not be recorded."""
_recording: Final = threading.Lock()
"""Held while a model is recorded: a second recording in the process would break both."""

Recorder = Callable[[Callable[[], "Tensor"]], Callable[[], "Tensor"]]
"""Gives what repeats a computation on the same memory; it returns the same tensor every time."""


class Shape(NamedTuple):
    """What a graph computes, whatever it is given.

    :param tokens: Rows.
    :param sequences: Sequences, those that nobody reads included.
    :param longest: Rows of a sequence at most.
    """

    tokens: int
    sequences: int
    longest: int

    def lengths(self, of_batch: list[int]) -> list[int] | None:
        """Give the lengths of all sequences of this shape, those of the batch first; `None` if it does not fit."""
        rest = self.tokens - sum(of_batch)
        if rest < 0 or max(of_batch) > self.longest:
            return None
        filling = [self.longest] * (rest // self.longest) + ([rest % self.longest] if rest % self.longest else [])
        unused = self.sequences - len(of_batch) - len(filling)
        return None if unused < 0 else of_batch + filling + [0] * unused


def shapes(longest: int) -> list[Shape]:
    """Give the shapes that are recorded, from small to large, for a model that reads `longest` tokens."""
    return [
        Shape(tokens, max(_FEWEST_SEQUENCES, tokens // _TOKENS_OF_A_SEQUENCE), min(tokens, longest))
        for tokens in _TOKENS
    ]


class FixedBatch:
    """The memory that a graph reads.

    :param shape: What fits.
    :param has_types: Whether the model reads type ids.
    """

    def __init__(self, shape: Shape, device: torch.device, *, has_types: bool) -> None:
        import torch

        self.shape = shape
        token_ids, positions, type_ids = torch.zeros(3, shape.tokens, dtype=torch.int64, device=device)
        read = torch.zeros(shape.sequences, dtype=torch.int64, device=device)
        bounds = torch.zeros(shape.sequences + 1, dtype=torch.int32, device=device)
        alone = torch.arange(shape.sequences + 1, dtype=torch.int32, device=device)
        self.packed = PackedBatch(
            token_ids,
            positions,
            type_ids if has_types else None,
            read,
            Layout([shape.longest], bounds),
            Layout([1], alone),
        )

    def fill(self, batch: PackedBatch, lengths: list[int]) -> None:
        """Write `batch` into this memory; what it does not reach keeps older tokens, which nobody reads.

        :param lengths: What `Shape.lengths` gave for it.
        """
        import torch

        used = len(batch.token_ids)
        self.packed.token_ids[:used].copy_(batch.token_ids)
        self.packed.positions[:used].copy_(batch.positions)
        if self.packed.type_ids is not None and batch.type_ids is not None:
            self.packed.type_ids[:used].copy_(batch.type_ids)
        bounds = self.packed.layout.bounds
        bounds.copy_(on_device(bounds_of(lengths), bounds.device))
        if self.packed.read is not None:
            torch.clamp(bounds[:-1].long(), max=self.shape.tokens - 1, out=self.packed.read)


class GraphedForward:
    """A forward pass that repeats what was recorded where a batch fits a shape, and else computes as ever.

    :param forward: The forward pass; its attention must take the longest length from the layout and nothing else.
    :param sizes: The shapes to record.
    :param record: How to record.
    """

    pads: Final = False

    def __init__(
        self,
        forward: PackedForward,
        sizes: Iterable[Shape],
        record: Recorder,
        device: torch.device,
        *,
        has_types: bool,
    ) -> None:
        self._forward = forward
        self._recorded: list[tuple[FixedBatch, Callable[[], Tensor]]] = []
        with _recording:
            for shape in sorted(sizes, reverse=True):  # the largest first: the others then live in its memory
                fixed = FixedBatch(shape, device, has_types=has_types)
                fixed.fill(fixed.packed, shape.lengths([1]) or [])
                repeat = record(lambda packed=fixed.packed: forward(packed))  # type: ignore[misc]
                self._recorded.insert(0, (fixed, repeat))

    def __call__(self, batch: PackedBatch) -> Tensor:
        """Give the logits, float32, shape (pairs,)."""
        for fixed, repeat in self._recorded:
            lengths = fixed.shape.lengths(batch.layout.lengths)
            if lengths is not None:
                fixed.fill(batch, lengths)
                return repeat()[: len(batch.layout.lengths)].clone()
        return self._forward(batch)


def with_graphs(
    forward: PackedForward, device: torch.device, *, longest: int, has_types: bool
) -> PackedForward | GraphedForward:
    """Record graphs where there is a GPU and an attention that can be recorded; else give `forward` back."""
    import torch

    if device.type != "cuda" or forward.attention is not attend_variable_length:
        return forward
    try:
        with torch.cuda.device(device), torch.inference_mode():
            return GraphedForward(forward, shapes(longest), cuda_recorder(), device, has_types=has_types)
    except RuntimeError as error:
        release(error)
        torch.cuda.empty_cache()
        logger.warning("no CUDA graphs for small batches, which are slower without: %s", error)
        return forward


def cuda_recorder() -> Recorder:
    """Record CUDA graphs on the current device, all in one pool of memory."""
    import torch

    pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def record(run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_RUNS_BEFORE_RECORDING):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile, for another model.
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            found = run()

        def repeat() -> Tensor:
            graph.replay()
            return found

        return repeat

    return record
