"""The bi-encoder of the first stage: texts to unit vectors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, cast

import numpy as np
import numpy.typing as npt

from fr_reranker_plugin.errors import ModelLoadError, ScoringError, SettingsError
from fr_reranker_plugin.retrieval.encoder_files import EncoderFiles, Pooling, Prefixes
from fr_reranker_plugin.retrieval.text_tokenizer import TextTokenizer
from fr_reranker_plugin.scoring.checkpoint import find_checkpoint
from fr_reranker_plugin.scoring.loading import load_config, load_weights, resolve_settings
from fr_reranker_plugin.scoring.settings import EMBEDDED, BatchSettings, ModelSettings

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

logger = logging.getLogger(__name__)

Vectors = npt.NDArray[np.float32]
"""Unit vectors, one row per text: shape (n, dimension)."""

_NOT_USED_WEIGHTS: Final = "pooler."
"""Some checkpoints leave out the head over the first token; no pooling here reads it."""


class TextEncoder:
    """A loaded bi-encoder: reads each text alone and gives one unit vector, so that an inner product is a cosine.

    Safe to use from any number of threads; one forward pass runs at a time.

    :param model: The encoder, on its device.
    :param tokenizer: The encoder's tokenizer.
    :param pooling: How the token vectors become the vector of the text.
    :param prefixes: What stands before a query and before a passage.
    :param max_batch_tokens: Longest text times number of texts in one forward pass; `None`: by device.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: TextTokenizer,
        *,
        pooling: Pooling = "mean",
        prefixes: Prefixes | None = None,
        max_batch_tokens: int | None = None,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._pooling = pooling
        batch = BatchSettings(max_batch_tokens=max_batch_tokens).for_device(str(model.device))
        self._max_batch_tokens = batch.max_batch_tokens or 1
        self._one_at_a_time = threading.Lock()
        self.prefixes = prefixes or Prefixes("", "")

    @classmethod
    def load(
        cls,
        settings: ModelSettings | None = None,
        *,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        max_batch_tokens: int | None = None,
    ) -> Self:
        """Load the bi-encoder that `settings` names: a sentence-transformers folder or a plain encoder.

        :param settings: Which checkpoint, and how. `None` is the embedded one.
        :param query_prefix: Stands before each query. `None` takes what the model was trained with: its own prompts,
            or `"query: "` for an E5 model.
        :param passage_prefix: Stands before each passage. `None`: the same, `"passage: "` for an E5 model.
        :param max_batch_tokens: Longest text times number of texts in one forward pass; `None`: by device.
        :raises ModelLoadError: If it cannot be found, lacks weights, or pools in a way that is not supported.
        :raises SettingsError: If the device, dtype or length cannot be used here.
        """
        settings = resolve_settings(settings or ModelSettings(model=EMBEDDED))
        folder = find_checkpoint(settings, embedded="bi_encoder")
        files = EncoderFiles(folder)
        pooling = files.pooling()
        config = load_config(folder)
        tokenizer = TextTokenizer.load(folder, config, max_length=settings.max_length, meant_for=files.max_length())
        encoder = cls(
            _load_model(folder, config, settings),
            tokenizer,
            pooling=pooling,
            prefixes=files.prefixes(settings.model).replaced_by(query_prefix, passage_prefix),
            max_batch_tokens=max_batch_tokens,
        )
        logger.info("loaded the bi-encoder %s on %s in %s", settings.model, settings.device, settings.dtype)
        return encoder

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._model.config.hidden_size)

    @property
    def max_length(self) -> int:
        """The longest text in tokens, prefix included; longer ones are cut."""
        return self._tokenizer.max_length

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Encode questions, each after the query prefix; see `encode`."""
        return self.encode(_prefixed(self.prefixes.query, texts))

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Encode passages, each after the passage prefix; see `encode`."""
        return self.encode(_prefixed(self.prefixes.passage, texts))

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Give the unit vectors of `texts` as they stand, in order: float32, shape (n, dimension).

        :raises SettingsError: If a text is not a string.
        :raises ScoringError: If the model gives a vector that is not finite.
        """
        _check_texts(texts)
        rows = self._tokenizer.encode(texts)
        vectors = np.empty((len(rows), self.dimension), dtype=np.float32)
        for places in length_sorted_batches([len(row) for row in rows], self._max_batch_tokens):
            vectors[places] = self._forward([rows[place] for place in places])
        if not np.isfinite(vectors).all():
            broken = int(np.argmin(np.isfinite(vectors).all(axis=1)))
            raise ScoringError(f"the bi-encoder gave a vector that is not finite for text {broken}")
        return vectors

    def _forward(self, rows: Sequence[list[int]]) -> Vectors:
        """Give the unit vectors of one batch of token ids."""
        import torch

        with self._one_at_a_time, torch.inference_mode():
            input_ids = torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(row) for row in rows], batch_first=True, padding_value=self._tokenizer.pad_token_id
            ).to(self._model.device)
            lengths = torch.tensor([len(row) for row in rows], device=self._model.device)
            mask = torch.arange(input_ids.shape[1], device=self._model.device) < lengths[:, None]
            tokens = self._model(input_ids=input_ids, attention_mask=mask.long()).last_hidden_state.float()
            pooled = tokens[:, 0] if self._pooling == "cls" else _mean(tokens, mask)
            vectors: Vectors = torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()
        return vectors


def length_sorted_batches(lengths: Sequence[int], max_batch_tokens: int) -> Iterator[list[int]]:
    """Yield positions in batches of like lengths, longest first, so that little of a batch is padding.

    :param lengths: Tokens of each text.
    :param max_batch_tokens: Longest of the batch times its size; a single longer text still gets a batch of its own.
    """
    longest_first = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    start = 0
    while start < len(longest_first):
        size = max(1, max_batch_tokens // max(1, lengths[longest_first[start]]))
        yield longest_first[start : start + size]
        start += size


def _mean(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average the vectors of the tokens that are not padding: (batch, length, d) and (batch, length) to (batch, d)."""
    weights = mask.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1)


def _load_model(folder: Path, config: PretrainedConfig, settings: ModelSettings) -> PreTrainedModel:
    from transformers import MODEL_MAPPING, AutoModel

    kind = cast("type[PreTrainedModel] | None", MODEL_MAPPING.get(type(config), None))
    if kind is None:
        raise ModelLoadError(f"{folder}: expected a text encoder like BERT, found the family {config.model_type!r}")
    options = {"add_pooling_layer": False} if "add_pooling_layer" in signature(kind).parameters else {}
    return load_weights(AutoModel, folder, config, settings, not_needed=_NOT_USED_WEIGHTS, **options)


def _prefixed(prefix: str, texts: Sequence[str]) -> list[str]:
    _check_texts(texts)
    return [prefix + text for text in texts]


def _check_texts(texts: Sequence[object]) -> None:
    if isinstance(texts, str):
        raise SettingsError("expected a list of texts, got one string; put it into a list")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise SettingsError(f"text {position} must be a string, got {type(text).__name__}")
