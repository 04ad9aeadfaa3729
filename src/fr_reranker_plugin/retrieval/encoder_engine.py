"""A loaded bi-encoder, as the thread that drives it sees it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, cast

from fr_reranker_plugin.errors import ModelLoadError, SettingsError
from fr_reranker_plugin.retrieval.encoder_files import EncoderFiles, Pooling, Prefixes
from fr_reranker_plugin.retrieval.encoder_forward import PackedTexts, PaddedTexts, TextForward
from fr_reranker_plugin.retrieval.encoder_identity import EncoderIdentity
from fr_reranker_plugin.retrieval.text_tokenizer import TextTokenizer
from fr_reranker_plugin.retrieval.vectors import Vectors
from fr_reranker_plugin.scoring.checkpoint import find_checkpoint
from fr_reranker_plugin.scoring.cross_encoder import SUPPORTED_FAMILIES
from fr_reranker_plugin.scoring.faults import watching
from fr_reranker_plugin.scoring.forward.transfer import on_host
from fr_reranker_plugin.scoring.load_errors import fitting
from fr_reranker_plugin.scoring.loading import load_config, load_weights, resolve_settings
from fr_reranker_plugin.scoring.scorer import EncodedPair
from fr_reranker_plugin.scoring.settings import ModelSettings

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

logger = logging.getLogger(__name__)

_NOT_USED_WEIGHTS: Final = "pooler."
"""Some checkpoints leave out the head over the first token; no pooling here reads it."""

_PROBE: Final = (
    "Où déclarer une naissance ?",
    "La déclaration se fait à la mairie du lieu de naissance, dans les cinq jours qui suivent l'accouchement.",
    "Le locataire donne congé par lettre recommandée ; le préavis est d'un mois à Paris, de trois mois ailleurs.",
    "12101*03",
)
_FARTHEST: Final = {"float32": 1e-5, "float16": 1e-3, "bfloat16": 1e-3, "int8": 1e-2}
"""How far from 1 the cosine with transformers' own vector may be, by dtype."""


class EncoderEngine:
    """A bi-encoder on one device: texts to token ids, token ids to unit vectors.

    `encode` is safe from any number of threads; `launch` and what it returns belong to one thread at a time.

    :param forward: The model.
    :param tokenizer: Its tokenizer.
    :param identity: Which model it is, with the prefixes that it was trained with.
    """

    def __init__(
        self, forward: TextForward, tokenizer: TextTokenizer, identity: EncoderIdentity, device: torch.device
    ) -> None:
        self._forward, self._tokenizer, self._device = forward, tokenizer, device
        self.identity = identity
        self.pads = forward.pads
        self.device = str(device)
        self.depth = 2 if device.type == "cuda" else 1

    @classmethod
    def load(cls, settings: ModelSettings) -> Self:
        """Load the bi-encoder that `settings` names and compare a few vectors with those of transformers.

        :raises ModelLoadError: If it cannot be found, lacks weights, pools in a way that is not supported, does not fit
            on the device, or loses too much in 8 bits.
        :raises SettingsError: If the device, dtype, backend or length cannot be used here.
        """
        if settings.backend == "onnx":
            raise SettingsError("backend 'onnx' is for cross-encoders; a bi-encoder runs in torch: leave backend out")
        settings = resolve_settings(settings)
        folder = find_checkpoint(settings, embedded="bi_encoder")
        files, config = EncoderFiles(folder), load_config(folder)
        pooling, prefixes = files.pooling(), files.prefixes(settings.model)
        tokenizer = TextTokenizer.load(files, config, max_length=settings.max_length)
        with fitting(folder, settings.device):
            model = _load_model(folder, config, settings)
            forward = _choose_forward(model, tokenizer, settings, pooling, prefixes)
        identity = EncoderIdentity(
            model=settings.model,
            revision=folder.name if folder.parent.name == "snapshots" else settings.revision,
            max_length=tokenizer.max_length,
            query_prefix=prefixes.query,
            passage_prefix=prefixes.passage,
            dimension=int(config.hidden_size),
            fingerprint=files.fingerprint(),
        )
        logger.info("loaded the bi-encoder %s on %s in %s", settings.model, settings.device, settings.dtype)
        return cls(forward, tokenizer, identity, model.device)

    def encode(self, texts: Sequence[str]) -> list[EncodedPair]:
        """Tokenise `texts`, one result each, in order."""
        return self._tokenizer.encode(texts)

    def launch(self, batch: Sequence[EncodedPair]) -> Callable[[], Vectors]:
        """Start the forward pass of `batch`; the function that is returned waits for its unit vectors.

        Texts of like length stand together inside, because the attention of equal lengths is computed at once.
        """
        import torch

        order = sorted(range(len(batch)), key=lambda place: len(batch[place].token_ids))
        with watching(self._device), torch.inference_mode():
            arrived = on_host(self._forward([batch[place] for place in order]))

        def collect() -> Vectors:
            import numpy as np

            with watching(self._device):
                found = arrived().numpy()
            vectors = np.empty(found.shape, dtype=np.float32)
            vectors[order] = found
            return vectors

        return collect


def _choose_forward(
    model: PreTrainedModel, tokenizer: TextTokenizer, settings: ModelSettings, pooling: Pooling, prefixes: Prefixes
) -> TextForward:
    """Give our forward pass if it computes here what transformers computes, else that of transformers."""
    padded = PaddedTexts(model, tokenizer.pad_token_id, pooling)
    family = model.config.model_type
    if family in SUPPORTED_FAMILIES:
        packed = PackedTexts.of_model(model, tokenizer, settings.dtype, pooling=pooling, prefixes=prefixes)
        cosine = _least_cosine(packed, padded, tokenizer.encode(_PROBE))
        if cosine >= 1 - _FARTHEST[settings.dtype]:
            return packed
        if settings.dtype == "int8":
            raise ModelLoadError(
                f"{settings.model} loses too much in 8 bits: the cosine with its own vectors falls to {cosine:.4f}, "
                f"below {1 - _FARTHEST['int8']}; use dtype 'float32'"
            )
        logger.warning("%s has something in its configuration that we do not know; its batches are padded", family)
    if settings.dtype == "int8":
        families = ", ".join(SUPPORTED_FAMILIES)
        raise SettingsError(f"dtype 'int8' is for the families {families}, not {family!r}; use 'float32'")
    if settings.device == "cpu" and settings.dtype == "bfloat16":
        model.bfloat16()
    return padded


def _least_cosine(one: TextForward, other: TextForward, texts: Sequence[EncodedPair]) -> float:
    import torch

    with torch.inference_mode():
        return float((one(texts) * other(texts)).sum(dim=-1).min())


def _load_model(folder: Path, config: PretrainedConfig, settings: ModelSettings) -> PreTrainedModel:
    """Load the model; on a CPU in float32, which other arithmetic is built from."""
    from transformers import MODEL_MAPPING, AutoModel

    kind = cast("type[PreTrainedModel] | None", MODEL_MAPPING.get(type(config), None))
    if kind is None:
        raise ModelLoadError(f"{folder}: expected a text encoder like BERT, found the family {config.model_type!r}")
    options = {"add_pooling_layer": False} if "add_pooling_layer" in signature(kind).parameters else {}
    weights = replace(settings, dtype="float32") if settings.device == "cpu" else settings
    return load_weights(AutoModel, folder, config, weights, not_needed=_NOT_USED_WEIGHTS, **options)
