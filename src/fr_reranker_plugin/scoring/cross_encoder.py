"""Load a cross-encoder checkpoint, and run one batch through it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

from fr_reranker_plugin.errors import ModelLoadError, SettingsError
from fr_reranker_plugin.scoring.checkpoint import find_checkpoint
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
        settings = resolve_device(settings)
        folder = find_checkpoint(settings)
        config = load_config(folder)
        check_architecture(config, folder)
        tokenizer = PairTokenizer.load(folder, config, max_length=settings.max_length)
        engine = cls(_load_model(folder, config, settings), tokenizer)
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


def resolve_device(settings: ModelSettings) -> ModelSettings:
    """Replace `None` and `"auto"` by what this machine has, so that equal choices compare equal.

    :raises SettingsError: If the device is unknown or not here, or the dtype is not for it.
    """
    import torch

    try:
        device = torch.device(settings.device or _best_device())
    except RuntimeError as error:
        raise SettingsError(f"device must be like 'cpu', 'cuda:0' or 'mps', got {settings.device!r}") from error
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", 0)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(f"device {str(device)!r} is not here: torch sees {torch.cuda.device_count()} CUDA devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SettingsError("device 'mps' is not here: torch was built without it or this is not Apple hardware")
    dtype = settings.dtype
    if dtype == "auto":
        dtype = "float16" if device.type == "cuda" else "float32"
    if dtype == "float16" and device.type == "cpu":
        raise SettingsError(
            "dtype 'float16' is slow and inexact on a CPU; use 'float32', or 'bfloat16' on AMX hardware"
        )
    return replace(settings, device=str(device), dtype=dtype, backend="torch")


def load_config(folder: Path) -> PretrainedConfig:
    """Read the configuration of a checkpoint; code that it may bring along is not run.

    :raises ModelLoadError: If it is not a configuration that transformers knows.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        raise ModelLoadError(f"{folder / 'config.json'} is not a configuration we can use: {error}") from error
    return cast("PretrainedConfig", config)


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


def _load_model(folder: Path, config: PretrainedConfig, settings: ModelSettings) -> PreTrainedModel:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification

    try:
        with without_progress_bars():
            loaded: tuple[PreTrainedModel, dict[str, Any]] = AutoModelForSequenceClassification.from_pretrained(
                folder,
                config=config,
                dtype=getattr(torch, settings.dtype),
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelLoadError(f"the weights in {folder} cannot be read: {error}") from error
    model, report = loaded
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:5])
        raise ModelLoadError(
            f"the weights in {folder} lack {missing}; they would be random. Save the whole model again"
        )
    model.to(settings.device)  # type: ignore[arg-type]  # transformers wraps torch's own signature
    model.requires_grad_(requires_grad=False).train(mode=False)
    return model


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep the bars that transformers draws for every checkpoint out of the caller's standard error."""
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if torch.backends.mps.is_available() else "cpu"
