"""Numbers on their way between the host and a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor


def on_device(numbers: np.ndarray, device: torch.device) -> Tensor:
    """Give `numbers` as a tensor on `device`; where that is a CUDA device, the host does not wait."""
    import torch

    tensor = torch.from_numpy(numbers)
    if not _has_streams(device):
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def on_host(found: Tensor) -> Callable[[], Tensor]:
    """Start to copy `found` to the host; the function that is returned waits until it is there, and gives it."""
    import torch

    if not _has_streams(found.device):
        there = found.to("cpu")
        return lambda: there
    there = found.to("cpu", non_blocking=True)
    event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(found.device))

    def wait() -> Tensor:
        event.synchronize()
        return there

    return wait


def _has_streams(device: torch.device) -> bool:
    """Whether a copy can go on alone: elsewhere, as on Apple's GPUs, nothing tells when it has arrived."""
    return device.type == "cuda"
