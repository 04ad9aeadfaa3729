"""What goes wrong while a model is loaded, as errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fr_reranker_plugin.errors import ModelLoadError, RerankerError
from fr_reranker_plugin.scoring.faults import is_out_of_memory

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_FORKED: Final = "Cannot re-initialize CUDA in forked subprocess"
_ACTIVATIONS: Final = ("hidden_act", "activation")


@contextmanager
def fitting(folder: Path, device: object) -> Iterator[None]:
    """Explain a model that does not get onto its device.

    :param folder: The checkpoint.
    :param device: Where it goes.
    :raises ModelLoadError: If memory runs out, or the process cannot use CUDA.
    """
    try:
        yield
    except RerankerError:
        raise
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise ModelLoadError(
                f"the model in {folder} does not fit into the free memory of device {device!r}: choose another device "
                f"or a smaller dtype, or make room there ({error})"
            ) from error
        if _FORKED in str(error):
            raise ModelLoadError(
                f"the model in {folder} cannot be loaded on device {device!r}: this process was forked from one that "
                "had used CUDA; start the workers with the 'spawn' method, or give them a server to ask (remote_url)"
            ) from error
        raise


@contextmanager
def readable(folder: Path, config: PretrainedConfig) -> Iterator[None]:
    """Explain a checkpoint that cannot be read; memory that runs out passes, as that is not to blame on it.

    :param folder: The checkpoint.
    :param config: Its configuration.
    :raises ModelLoadError: Whatever happens.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # the unpickler advises to switch its safety off, and a traceback would show that
        cause = None if type(error).__name__ == "UnpicklingError" else error
        raise ModelLoadError(_unreadable(folder, config, error)) from cause


def _unreadable(folder: Path, config: PretrainedConfig, error: Exception) -> str:
    from safetensors import SafetensorError

    activations = [str(getattr(config, key)) for key in _ACTIVATIONS if getattr(config, key, None)]
    if isinstance(error, KeyError) and (unknown := [name for name in activations if name in str(error)]):
        return f"{folder / 'config.json'}: expected an activation that transformers knows, found {unknown[0]!r}"
    if isinstance(error, (OSError, ValueError, RuntimeError, SafetensorError)):
        return f"the model in {folder} cannot be read: {error}"
    return (
        f"the model in {folder} cannot be read ({type(error).__name__}): its weights are damaged, or hold more than "
        "weights; fetch them again, or save them as model.safetensors where they come from"
    )
