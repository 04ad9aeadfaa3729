"""Load a cross-encoder checkpoint, and run one batch through it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from fr_reranker_plugin.errors import ModelLoadError
from fr_reranker_plugin.scoring.checkpoint import find_checkpoint
from fr_reranker_plugin.scoring.faults import watching
from fr_reranker_plugin.scoring.forward.batch import Numbering, PackedBatch, rounded_up
from fr_reranker_plugin.scoring.forward.transfer import on_host
from fr_reranker_plugin.scoring.load_errors import fitting
from fr_reranker_plugin.scoring.loading import load_config, load_weights, resolve_settings
from fr_reranker_plugin.scoring.scorer import EncodedPair, Pair
from fr_reranker_plugin.scoring.settings import ModelSettings
from fr_reranker_plugin.scoring.tokenization import PairTokenizer
from fr_reranker_plugin.scoring.windows import Span, cut_passages

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

    from fr_reranker_plugin.scoring.forward.encoder import PackedForward
    from fr_reranker_plugin.scoring.forward.graphs import GraphedForward

logger = logging.getLogger(__name__)

SUPPORTED_FAMILIES: Final = ("xlm-roberta", "bert", "camembert", "roberta", "distilbert")

_PROBE: Final = [("Où déclarer une naissance ?", "La déclaration se fait à la mairie, dans les cinq jours.")]
_PAIRS_AT_ONCE: Final = 8
_PAIRS_OF_A_LARGE_BATCH: Final = 256
"""What a GPU computes once at loading: its libraries then have kernels and memory before the first request."""
_EXACT_TOLERANCE: Final = 1e-3
_ROUNDED_TOLERANCE: Final = 0.5


class CrossEncoder:
    """A loaded checkpoint: reads a query and a passage together, gives one relevance logit.

    An activation that the checkpoint's configuration asks for is not applied: a logit is what the head gives.
    `encode` is safe from any number of threads; `launch` and what it returns belong to one thread.

    :param forward: The encoder and its head, on `device`.
    :param tokenizer: The model's tokenizer.
    :param numbering: How the model numbers tokens.
    :param device: Where the model is.
    """

    def __init__(
        self,
        forward: PackedForward | GraphedForward,
        tokenizer: PairTokenizer,
        numbering: Numbering,
        device: torch.device,
    ) -> None:
        self._forward, self._tokenizer, self._numbering = forward, tokenizer, numbering
        self._device = device
        self.pads = forward.pads
        self.depth = 2 if device.type == "cuda" else 1

    @classmethod
    def load(cls, settings: ModelSettings) -> Self:
        """Load the checkpoint that `settings` names and run one pair through it.

        :raises ModelLoadError: If it cannot be found, is not a one-logit cross-encoder of a supported family, lacks
            weights, does not fit on the device, or does not compute here what transformers computes with it. The
            message says which and what to do.
        :raises SettingsError: If the device or dtype cannot be used here.
        """
        settings = resolve_settings(settings)
        folder = find_checkpoint(settings)
        config = load_config(folder)
        from transformers import AutoModelForSequenceClassification  # not sooner: see `load_config`

        check_architecture(config, folder)
        tokenizer = PairTokenizer.load(folder, config, max_length=settings.max_length)
        weights = replace(settings, dtype="float32") if settings.device == "cpu" else settings
        with fitting(folder, settings.device):
            model = load_weights(AutoModelForSequenceClassification, folder, config, weights)
            expected = _reference_logit(model, tokenizer)
            engine = cls._of_model(model, tokenizer, settings)
            _check_logit(engine.launch(engine.encode(_PROBE))()[0], expected, settings)
            if engine.depth > 1:
                engine.launch(engine.encode(_PROBE) * _PAIRS_OF_A_LARGE_BATCH)()
        logger.info("loaded %s on %s in %s", settings.model, settings.device, settings.dtype)
        return engine

    @classmethod
    def _of_model(cls, model: PreTrainedModel, tokenizer: PairTokenizer, settings: ModelSettings) -> Self:
        """Take the weights out of `model`, which is of no use afterwards."""
        from fr_reranker_plugin.scoring.forward.encoder_weights import read_weights
        from fr_reranker_plugin.scoring.forward.graphs import with_graphs
        from fr_reranker_plugin.scoring.forward.precision import build_forward

        weights, device = read_weights(model), model.device
        tables = weights.embeddings
        has_types = tokenizer.uses_type_ids and tables.types is not None
        numbering = Numbering(tables.first_position, tables.skipped, has_types)

        def batches(pairs: Iterable[Pair]) -> Iterator[PackedBatch]:
            encoded = tokenizer.encode(list(pairs))
            for start in range(0, len(encoded), _PAIRS_AT_ONCE):
                yield PackedBatch.of(encoded[start : start + _PAIRS_AT_ONCE], numbering, device)

        forward = build_forward(weights, settings.dtype, device, batches)
        graphed = with_graphs(forward, device, longest=tokenizer.max_length, has_types=has_types)
        return cls(graphed, tokenizer, numbering, device)

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
        """Start the forward pass of `batch`; the function that is returned waits for its float32 logits.

        Pairs of like length stand together inside, because the attention of equal lengths is computed at once.
        """
        import torch

        order = sorted(range(len(batch)), key=lambda place: len(batch[place].token_ids))
        with watching(self._device), torch.inference_mode():
            pairs = rounded_up([batch[place] for place in order], self._device)
            packed = PackedBatch.of(pairs, self._numbering, self._device)
            arrived = on_host(self._forward(packed)[: len(batch)])

        def collect() -> list[float]:
            with watching(self._device):
                by_place = dict(zip(order, arrived().tolist(), strict=True))
            return [by_place[place] for place in range(len(batch))]

        return collect


def _reference_logit(model: PreTrainedModel, tokenizer: PairTokenizer) -> float:
    """Give the logit of the probe as transformers computes it."""
    import torch

    (pair,) = tokenizer.encode(_PROBE)
    inputs = {"input_ids": torch.tensor([pair.token_ids], device=model.device)}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if tokenizer.uses_type_ids:
        inputs["token_type_ids"] = torch.tensor([pair.type_ids], device=model.device)
    with torch.inference_mode():
        return float(model(**inputs).logits)


def _check_logit(found: float, expected: float, settings: ModelSettings) -> None:
    """Refuse a model whose own code does something that this forward pass does not know of."""
    tolerance = _EXACT_TOLERANCE if settings.dtype == "float32" else _ROUNDED_TOLERANCE
    if isfinite(expected) and not abs(found - expected) <= tolerance * max(1.0, abs(expected)):
        raise ModelLoadError(
            f"{settings.model} gives the logit {found:.4f} here and {expected:.4f} in transformers, for {_PROBE[0]}; "
            "its configuration must hold something we do not know: please report the model"
        )


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
