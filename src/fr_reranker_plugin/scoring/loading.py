"""Where a model runs, and how its configuration and weights are read."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from fr_reranker_plugin.errors import ModelLoadError, SettingsError
from fr_reranker_plugin.scoring.checkpoint import with_full_path
from fr_reranker_plugin.scoring.load_errors import fitting, readable
from fr_reranker_plugin.scoring.settings import DType, ModelSettings

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel
    from transformers.models.auto.auto_factory import _BaseAutoModelClass

logger = logging.getLogger(__name__)

_DEVICE_KINDS: Final = ("cpu", "cuda", "mps")
_DEVICES: Final = "'cpu', 'cuda:0' or 'mps'"
_ONNX_DTYPES: Final = ("float32", "int8")


def resolve_settings(settings: ModelSettings) -> ModelSettings:
    """Replace `None`, `"auto"` and relative folders by what this machine has, so that equal choices compare equal.

    :raises SettingsError: If a device is unknown or not here, or the dtype is not for it, or devices differ in kind.
    """
    settings = with_full_path(settings)
    if settings.backend == "onnx":
        return _resolve_onnx(settings)
    devices = [_resolve_device(device) for device in settings.devices]
    kinds = sorted({device.split(":")[0] for device in devices})
    if len(kinds) > 1:
        raise SettingsError(f"the devices of one model must be of one kind, or scores would differ; got {devices}")
    dtype = settings.dtype
    if dtype == "auto":
        dtype = "float16" if kinds == ["cuda"] else "float32"
    _check_dtype(dtype, kinds[0])
    return replace(settings, device=devices, dtype=dtype, backend="torch", revision=settings.pinned_revision)


def _resolve_onnx(settings: ModelSettings) -> ModelSettings:
    if settings.devices not in ((None,), ("cpu",)):
        raise SettingsError(f"backend 'onnx' runs on the CPU only, got device {settings.device!r}; use device='cpu'")
    dtype: DType = "float32" if settings.dtype == "auto" else settings.dtype
    if dtype not in _ONNX_DTYPES:
        raise SettingsError(f"backend 'onnx' computes in {' or '.join(map(repr, _ONNX_DTYPES))}, got dtype {dtype!r}")
    return replace(settings, device="cpu", dtype=dtype, revision=settings.pinned_revision)


def _check_dtype(dtype: str, kind: str) -> None:
    from fr_reranker_plugin.scoring.forward import bfloat16_product, int8

    if dtype == "float16" and kind == "cpu":
        raise SettingsError(
            "dtype 'float16' is slow and inexact on a CPU; use 'float32', or 'bfloat16' on AMX hardware"
        )
    if dtype == "bfloat16" and kind == "cpu" and bfloat16_product.is_slow():
        logger.warning("this CPU has no instructions for 'bfloat16', which takes it several times as long as 'float32'")
    if dtype == "int8" and kind != "cpu":
        raise SettingsError(f"dtype 'int8' is for CPUs; on {kind!r} use 'float16', which is as fast there and closer")
    if dtype == "int8" and not int8.is_supported():
        raise SettingsError(
            "dtype 'int8' needs a CPU with AVX-512 VNNI or AVX-VNNI, and torch for x86; "
            "use 'float32', or backend 'onnx'"
        )


def _resolve_device(name: str | None) -> str:
    import torch

    try:
        device = torch.device(name or _best_device())
    except RuntimeError as error:
        raise SettingsError(f"device must be like {_DEVICES}, got {name!r}") from error
    if device.type not in _DEVICE_KINDS:
        raise SettingsError(f"device must be like {_DEVICES}, got {name!r}, which this package does not know")
    if device.type == "cpu":
        return "cpu"
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", 0)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(f"device {str(device)!r} is not here: torch sees {torch.cuda.device_count()} CUDA devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SettingsError("device 'mps' is not here: torch was built without it or this is not Apple hardware")
    return str(device)


def load_config(folder: Path) -> PretrainedConfig:
    """Read the configuration of a checkpoint; code that it may bring along is not run.

    :raises ModelLoadError: If it is not a configuration that transformers knows.
    """
    import transformers  # noqa: F401 -- it replaces itself when it is imported; who waited for that looks again below
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        raise ModelLoadError(f"{folder / 'config.json'} is not a configuration we can use: {error}") from error
    return cast("PretrainedConfig", config)


def load_weights(
    auto_class: type[_BaseAutoModelClass],
    folder: Path,
    config: PretrainedConfig,
    settings: ModelSettings,
    *,
    not_needed: str | None = None,
    **options: Any,  # noqa: ANN401 -- handed on to the model's constructor as they are
) -> PreTrainedModel:
    """Load a model for inference, on its device and in its dtype.

    :param auto_class: The transformers class that knows which model fits `config`.
    :param settings: `device` and `dtype` are used, and must be resolved.
    :param not_needed: Weights whose names start like this may be missing; nothing reads them.
    :param options: More arguments for the model.
    :raises ModelLoadError: If weights are damaged, or missing and would be random, or do not fit on the device.
    :raises SettingsError: If several devices are named.
    """
    import torch

    if len(settings.devices) > 1:
        raise SettingsError(f"one copy of a model is loaded on one device; got {settings.device}")
    with fitting(folder, settings.device):
        with readable(folder, config), without_chatter():
            loaded: tuple[PreTrainedModel, dict[str, Any]] = auto_class.from_pretrained(
                folder,
                config=config,
                dtype=getattr(torch, settings.dtype),
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
        model, report = loaded
        _check_complete(report["missing_keys"], folder, not_needed)
        model.to(settings.device)  # type: ignore[arg-type]  # transformers wraps torch's own signature
    model.requires_grad_(requires_grad=False).train(mode=False)
    return model


def _check_complete(missing: Iterable[str], folder: Path, not_needed: str | None) -> None:
    lacking = sorted(name for name in missing if not_needed is None or not name.startswith(not_needed))
    if lacking:
        raise ModelLoadError(
            f"the weights in {folder} lack {', '.join(lacking[:5])}; they would be random. Save the whole model again"
        )


@contextmanager
def without_chatter() -> Iterator[None]:
    """Keep out of the caller's standard error what transformers draws and reports for every checkpoint.

    Its report of weights that are missing, or that nobody reads, is repeated by our own error where it matters.
    """
    from transformers.utils import logging as transformers_logging

    reporting = logging.getLogger("transformers.modeling_utils")
    reporting.addFilter(_no_load_report)
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        reporting.removeFilter(_no_load_report)
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _no_load_report(record: logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if torch.backends.mps.is_available() else "cpu"
