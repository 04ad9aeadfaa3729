"""Load a cross-encoder checkpoint, and run one batch through it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, cast

from fr_reranker_plugin.errors import ModelLoadError
from fr_reranker_plugin.scoring.checkpoint import find_checkpoint
from fr_reranker_plugin.scoring.loading import load_config, load_weights, resolve_settings
from fr_reranker_plugin.scoring.scorer import EncodedPair, Pair
from fr_reranker_plugin.scoring.settings import ModelSettings
from fr_reranker_plugin.scoring.tokenization import PairTokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

logger = logging.getLogger(__name__)

SUPPORTED_FAMILIES: Final = ("xlm-roberta", "bert", "camembert", "roberta", "distilbert")


class CrossEncoder:
    """A loaded checkpoint: reads a query and a passage together, gives one relevance logit.

    An activation that the checkpoint's configuration asks for is not applied: a logit is what the head gives.
    `encode` is safe from any number of threads; `forward` belongs to one thread.

    :param model: A `*ForSequenceClassification` model with one label, on its device.
    :param tokenizer: The model's tokenizer.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PairTokenizer) -> None:
        self._model = model
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, settings: ModelSettings) -> Self:
        """Load the checkpoint that `settings` names and run one pair through it.

        :raises ModelLoadError: If it cannot be found, is not a one-logit cross-encoder of a supported family, or lacks
            weights. The message says which and what to do.
        :raises SettingsError: If the device or dtype cannot be used here.
        """
        from transformers import AutoModelForSequenceClassification

        settings = resolve_settings(settings)
        folder = find_checkpoint(settings)
        config = load_config(folder)
        check_architecture(config, folder)
        tokenizer = PairTokenizer.load(folder, config, max_length=settings.max_length)
        engine = cls(load_weights(AutoModelForSequenceClassification, folder, config, settings), tokenizer)
        engine.forward(engine.encode([("Une question ?", "Un passage.")]))
        logger.info("loaded %s on %s in %s", settings.model, settings.device, settings.dtype)
        return engine

    @property
    def max_length(self) -> int:
        """The longest pair in tokens; longer ones are cut."""
        return self._tokenizer.max_length

    def encode(self, pairs: Sequence[Pair]) -> list[EncodedPair]:
        """Tokenise `pairs`, one result each, in order."""
        return self._tokenizer.encode(pairs)

    def forward(self, batch: Sequence[EncodedPair]) -> list[float]:
        """Give the logit of each pair of `batch`, computed in one pass and returned as float32 values."""
        import torch

        with torch.inference_mode():
            logits = self._model(**self._padded_inputs(batch)).logits
            return cast("list[float]", logits.squeeze(-1).float().tolist())

    def _padded_inputs(self, batch: Sequence[EncodedPair]) -> dict[str, torch.Tensor]:
        import torch

        longest = max(len(pair.token_ids) for pair in batch)

        def padded(rows: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
            table = torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])
            return table.to(self._model.device)

        inputs = {
            "input_ids": padded([pair.token_ids for pair in batch], self._tokenizer.pad_token_id),
            "attention_mask": padded([[1] * len(pair.token_ids) for pair in batch], 0),
        }
        if self._tokenizer.uses_type_ids:
            inputs["token_type_ids"] = padded([pair.type_ids for pair in batch], 0)
        return inputs


def check_architecture(config: PretrainedConfig, folder: Path) -> None:
    """Refuse what is not a cross-encoder with one relevance logit.

    :raises ModelLoadError: With what was expected, what came, and what to do.
    """
    architecture = (config.architectures or ["an unnamed architecture"])[0]
    expected = f"expected *ForSequenceClassification with one label, of the families {', '.join(SUPPORTED_FAMILIES)}"
    if config.model_type not in SUPPORTED_FAMILIES:
        raise ModelLoadError(f"{folder}: {expected}; found {architecture} of the family {config.model_type!r}")
    if not architecture.endswith("ForSequenceClassification"):
        raise ModelLoadError(
            f"{folder}: {expected}; found {architecture}, which has no relevance head (is it a bi-encoder?)"
        )
    if config.num_labels != 1:
        raise ModelLoadError(
            f"{folder}: {expected}; found {config.num_labels} labels: a classifier, not a reranker. "
            "Fine-tune it with num_labels=1, or choose a model with one label"
        )
