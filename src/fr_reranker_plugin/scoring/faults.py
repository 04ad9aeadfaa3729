"""What a model's errors mean for the batch, for the engine and for the callers."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from fr_reranker_plugin.errors import DeviceLostError, ScoringError

if TYPE_CHECKING:
    import torch

_OUT_OF_MEMORY_TYPES: Final = frozenset({"OutOfMemoryError", "MemoryError"})

_OUT_OF_MEMORY: Final = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to allocate",
    "bad_alloc",
    "not enough memory",
    "bfcarena::allocaterawinternal",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)
"""Parts of messages of torch on CPU and GPU, of ONNX Runtime and of the CUDA libraries, in lower case."""

_DEVICE_LOST: Final = (
    "illegal memory access",
    "illegal instruction was encountered",
    "illegal address",
    "invalid program counter",
    "operation not supported on global/shared address space",
    "an exception occurred on the device",
    "invalid access of peer gpu memory",
    "misaligned address",
    "device-side assert",
    "unspecified launch failure",
    "launch timed out",
    "uncorrectable ecc",
    "uncorrectable nvlink",
    "hardware stack error",
    "device is lost",
    "fallen off the bus",
    "unknown error",
    "driver shutting down",
    "context is destroyed",
)
"""Parts of messages of CUDA errors that end the process's hold on the device, in lower case."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the batch was too large for the device's memory."""
    if any(kind.__name__ in _OUT_OF_MEMORY_TYPES for kind in type(error).__mro__):
        return True
    message = str(error).lower()
    return isinstance(error, Exception) and any(part in message for part in _OUT_OF_MEMORY)


def is_device_lost(error: BaseException) -> bool:
    """Whether the device answers nothing any more in this process: a "sticky" CUDA error.

    A pair that the model cannot read raises Python errors that may quote anything, so only errors that name CUDA count.
    """
    if isinstance(error, DeviceLostError):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and "cuda" in message and any(part in message for part in _DEVICE_LOST)


def device_lost(error: BaseException) -> DeviceLostError:
    """Tell the callers of an engine that its device is lost; an error that says so already is given back."""
    if isinstance(error, DeviceLostError):
        return error
    lost = DeviceLostError(f"the device is lost ({type(error).__name__}: {error}); only a new process can use it again")
    lost.__cause__ = error
    return lost


@contextmanager
def watching(device: torch.device) -> Iterator[None]:
    """Tell a device that is lost from a batch that failed: after an error on CUDA, whatever it says, ask the device.

    :raises DeviceLostError: If the device answers with an error too. It would fail every batch, and at once: the queue
        would drain into it.
    """
    try:
        yield
    except RuntimeError as error:
        if device.type == "cuda" and not is_out_of_memory(error) and not _answers(device):
            raise device_lost(error) from error
        raise


def _answers(device: torch.device) -> bool:
    import torch

    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return False
    return True


def release(error: BaseException) -> None:
    """Free what the frames of an error hold: the tensors of the pass that failed.

    :param error: As it is caught where the engine was called. That frame, which still runs, leaves the traceback.
    """
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__


def scoring_error(shown: str, tokens: int, cause: BaseException) -> ScoringError:
    """Tell a caller what the model failed on.

    :param shown: The pair or text, as a message shows it.
    :param tokens: Its length.
    """
    if is_out_of_memory(cause):
        message = (
            f"out of memory on {shown}, {tokens} tokens, computed alone: choose a smaller max_length, "
            f"a device with more memory or a smaller dtype ({type(cause).__name__}: {cause})"
        )
    else:
        message = f"the model failed on {shown}: {type(cause).__name__}: {cause}"
    error = ScoringError(message)
    error.__cause__ = cause
    return error


class TokenBudget:
    """How many tokens a batch may cost: halved when memory runs out, grown back in small steps.

    :param limit: The budget that was chosen, in tokens; never exceeded.
    """

    _BATCHES_PER_STEP: Final = 200
    _STEPS: Final = 32

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._good_batches = 0
        self.tokens = limit

    def shrink(self, cost: int, *, longest: int) -> None:
        """Remember that a batch that cost this many tokens did not fit.

        :param longest: Its longest pair: there is no use in a smaller budget, for a pair cannot be split.
        """
        self._good_batches = 0
        self.tokens = min(self.tokens, max(1, longest, min(self.tokens, cost) // 2))

    def grow(self, cost: int) -> None:
        """Count a batch that did fit; many large ones earn a step back towards the limit."""
        if self.tokens >= self._limit or 2 * cost < self.tokens:
            return
        self._good_batches += 1
        if self._good_batches >= self._BATCHES_PER_STEP:
            self._good_batches = 0
            self.tokens = min(self._limit, self.tokens + max(1, self._limit // self._STEPS))
