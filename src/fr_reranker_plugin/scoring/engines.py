"""Choose and load what runs a model."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from fr_reranker_plugin.scoring.scorer import Engine
from fr_reranker_plugin.scoring.settings import ModelSettings

Loaded = TypeVar("Loaded")


def load_engines(settings: ModelSettings) -> list[Engine]:
    """Load a cross-encoder on each device that `settings` names; see `load_on_each_device`.

    :raises MissingDependencyError: If the backend is not installed.
    """
    return load_on_each_device(settings, _load_engine)


def load_on_each_device(settings: ModelSettings, load: Callable[[ModelSettings], Loaded]) -> list[Loaded]:
    """Load a copy of a model on each device that `settings` names.

    That happens in a thread of its own, which ends: OpenMP keeps a team of threads for every thread that has computed,
    and while there are more of them than processors, each short computation of the scoring thread waits for its team
    to wake up.

    :param settings: Resolved settings.
    :param load: Loads it on one device.
    :raises ModelLoadError: If the checkpoint cannot be found, is not supported or cannot be read.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="fr-reranker-loading") as thread:
        return list(thread.map(load, (replace(settings, device=device) for device in settings.devices)))


def _load_engine(settings: ModelSettings) -> Engine:
    if settings.backend == "onnx":
        from fr_reranker_plugin.scoring.onnx_engine import OnnxEngine

        return OnnxEngine.load(settings)
    from fr_reranker_plugin.scoring.cross_encoder import CrossEncoder

    return CrossEncoder.load(settings)
