"""What ran where: the machine, the versions and the model, for people who compare results."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from fr_reranker_plugin.scoring.settings import ModelSettings

_PACKAGES: Final = ("fr-reranker-plugin", "torch", "transformers", "tokenizers", "numpy", "faiss-cpu", "faiss-gpu",
                    "bm25s", "ir-measures", "ir-datasets", "onnxruntime", "ray")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """A model as it was used; every field that changes a logit is here.

    :param name: As the user gave it.
    :param fingerprint: Checksum of its weights and tokenizer.
    """

    name: str
    revision: str | None
    fingerprint: str
    device: str
    dtype: str
    backend: str
    max_length: int

    @property
    def key(self) -> str:
        """What logits are kept under: the same model in another folder, or on another device, is the same."""
        return f"{self.fingerprint} {self.dtype} {self.backend} {self.max_length}"


def model_facts(settings: ModelSettings) -> ModelFacts:
    """Tell what a model's settings come to on this machine; fetches it from the Hub if need be, and loads no weights.

    :raises ModelLoadError: If it cannot be found, or is of a kind that is not supported.
    :raises SettingsError: If the settings do not suit this machine.
    """
    from fr_reranker_plugin.scoring.checkpoint import find_checkpoint
    from fr_reranker_plugin.scoring.cross_encoder import check_architecture
    from fr_reranker_plugin.scoring.fingerprint import fingerprint
    from fr_reranker_plugin.scoring.loading import load_config, resolve_settings
    from fr_reranker_plugin.scoring.tokenization import PairTokenizer

    resolved = resolve_settings(settings)
    folder = find_checkpoint(resolved)
    config = load_config(folder)
    check_architecture(config, folder)
    return ModelFacts(
        name=settings.model,
        revision=resolved.pinned_revision,
        fingerprint=fingerprint(folder),
        device=", ".join(str(device) for device in resolved.devices),
        dtype=resolved.dtype,
        backend=resolved.backend,
        max_length=PairTokenizer.load(folder, config, max_length=settings.max_length).max_length,
    )


def machine_facts() -> dict[str, Any]:
    """Describe the machine: system, processor, cores, threads and GPUs."""
    import torch

    facts: dict[str, Any] = {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": processor_field("model name"),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        facts["gpus"] = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return facts


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Give the versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def processor_field(name: str) -> str | None:
    """Give what Linux says of the processor; elsewhere what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)
