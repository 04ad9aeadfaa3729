"""Run a cross-encoder with ONNX Runtime on a CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from fr_reranker_plugin.scoring.checkpoint import find_checkpoint
from fr_reranker_plugin.scoring.cross_encoder import check_architecture
from fr_reranker_plugin.scoring.loading import load_config, resolve_settings
from fr_reranker_plugin.scoring.onnx_cache import cached_export
from fr_reranker_plugin.scoring.onnx_session import OnnxSession, check_onnxruntime
from fr_reranker_plugin.scoring.scorer import EncodedPair, Pair
from fr_reranker_plugin.scoring.settings import ModelSettings
from fr_reranker_plugin.scoring.tokenization import PairTokenizer
from fr_reranker_plugin.scoring.windows import Span, cut_passages

logger = logging.getLogger(__name__)


class OnnxEngine:
    """An exported cross-encoder: reads a query and a passage together, gives one relevance logit.

    In float32 the logits are those of torch to 1e-4. In int8 a logit depends a little on the other pairs of its batch,
    because ONNX Runtime finds the range of the activations anew for each batch.

    :param session: The exported model.
    :param tokenizer: The model's tokenizer.
    """

    pads: Final = True
    depth: Final = 1

    def __init__(self, session: OnnxSession, tokenizer: PairTokenizer) -> None:
        self._session = session
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, settings: ModelSettings) -> Self:
        """Load the model that `settings` names, exporting it first unless that was done before.

        :raises ModelLoadError: If it cannot be found, is not supported, or cannot be exported.
        :raises SettingsError: If a device or dtype is asked for that this engine does not have.
        :raises MissingDependencyError: If ONNX Runtime, or onnx for the export, is not installed.
        """
        settings = resolve_settings(replace(settings, backend="onnx"))
        path, tokenizer = _exported(settings)
        engine = cls(OnnxSession.open(path, pad_token_id=tokenizer.pad_token_id), tokenizer)
        engine.launch(engine.encode([("Une question ?", "Un passage.")]))
        logger.info("loaded %s with ONNX Runtime on the CPU in %s", settings.model, settings.dtype)
        return engine

    @property
    def max_length(self) -> int:
        """The longest pair in tokens; longer ones are cut."""
        return self._tokenizer.max_length

    def encode(self, pairs: Sequence[Pair]) -> list[EncodedPair]:
        """Tokenise `pairs`, one result each, in order."""
        return self._tokenizer.encode(pairs)

    def windows(self, pairs: Sequence[Pair], *, overlap: int) -> list[list[Span]]:
        """Give where the passage of each pair is cut into windows that fit; see `cut_passages`."""
        return cut_passages(self._tokenizer, pairs, overlap=overlap)

    def launch(self, batch: Sequence[EncodedPair]) -> Callable[[], list[float]]:
        """Compute the logits of `batch`, padded to its longest pair; the function that is returned gives them."""
        logits = self._session.logits(batch)
        return lambda: logits


def exported_file(settings: ModelSettings, *, to: Path | None = None) -> Path:
    """Give the ONNX file of the model that `settings` names, exporting it first unless that was done before.

    :param to: The folder that gets it, instead of one in the cache.
    :raises ModelLoadError: If it cannot be found, is not supported, or cannot be exported.
    :raises SettingsError: If a device or dtype is asked for that the engine does not have.
    :raises MissingDependencyError: If ONNX Runtime, or onnx for the export, is not installed.
    """
    return _exported(resolve_settings(replace(settings, backend="onnx")), to=to)[0]


def _exported(settings: ModelSettings, *, to: Path | None = None) -> tuple[Path, PairTokenizer]:
    check_onnxruntime()
    folder = find_checkpoint(settings)
    config = load_config(folder)
    check_architecture(config, folder)
    tokenizer = PairTokenizer.load(folder, config, max_length=settings.max_length)
    return cached_export(settings, folder, config, tokenizer, to=to), tokenizer
