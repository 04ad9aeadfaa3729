"""Choose and load what runs a model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from fr_reranker_plugin.scoring.scorer import Engine
from fr_reranker_plugin.scoring.settings import ModelSettings


def load_engines(settings: ModelSettings) -> list[Engine]:
    """Load a copy of the model on each device that `settings` names.

    That happens in a thread of its own, which ends: OpenMP keeps a team of threads for every thread that has computed,
    and while there are more of them than processors, each short computation of the scoring thread waits for its team
    to wake up.

    :param settings: Resolved settings.
    :raises ModelLoadError: If the checkpoint cannot be found, is not supported or cannot be read.
    :raises MissingDependencyError: If the backend is not installed.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="fr-reranker-loading") as thread:
        return list(thread.map(_load_engine, (replace(settings, device=device) for device in settings.devices)))


def _load_engine(settings: ModelSettings) -> Engine:
    if settings.backend == "onnx":
        from fr_reranker_plugin.scoring.onnx_engine import OnnxEngine

        return OnnxEngine.load(settings)
    from fr_reranker_plugin.scoring.cross_encoder import CrossEncoder

    return CrossEncoder.load(settings)
