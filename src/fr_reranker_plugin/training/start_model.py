"""The model that training begins with, and the folder that it ends in."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from fr_reranker_plugin.errors import ModelLoadError, SettingsError
from fr_reranker_plugin.scoring.cross_encoder import SUPPORTED_FAMILIES, check_architecture
from fr_reranker_plugin.scoring.load_errors import readable
from fr_reranker_plugin.scoring.loading import load_config, without_chatter
from fr_reranker_plugin.scoring.tokenizer_files import check_has_tokenizer

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder
    from transformers import PretrainedConfig

LONGEST: Final = 512
"""Tokens of a pair when the model is used, if it can read as many."""

_TOKENIZER_FILES: Final = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
)
_HEAD: Final = "ForSequenceClassification"


class StartModel(NamedTuple):
    """A loaded model, and the longest pair in tokens that it reads when it is used."""

    model: CrossEncoder
    reading_length: int


def open_start(folder: Path, *, seed: int, max_length: int) -> StartModel:
    """Load a cross-encoder with one label, or an encoder with a new head, with float32 weights, on the CPU.

    :param seed: Of a new head.
    :param max_length: Longest pair in tokens while training.
    :raises ModelLoadError: If it is of a kind that is not supported, or cannot be read.
    :raises SettingsError: If it cannot read pairs of that length.
    """
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import set_seed

    config = load_config(folder)
    _check(config, folder)
    check_has_tokenizer(folder)
    set_seed(seed)
    with readable(folder, config), without_chatter(), _no_conversion_note():
        model = CrossEncoder(
            str(folder),
            num_labels=1,
            device="cpu",
            local_files_only=True,
            model_kwargs={"dtype": torch.float32},
        )
    longest = min(model.max_seq_length or LONGEST, LONGEST)
    if max_length > longest:
        raise SettingsError(f"max_length must be <= {longest}, the most that {folder.name} can read; got {max_length}")
    model.max_seq_length = max_length
    _wake_pooler(model)
    return StartModel(model, longest)


def keep_no_activations(model: CrossEncoder) -> None:
    """Have the backward pass compute activations again instead of keeping them."""
    names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")  # new and old in transformers 5
    enable = next(getattr(model.model, name) for name in names if hasattr(model.model, name))
    enable({"use_reentrant": False})


def save_result(model: CrossEncoder, start: Path, folder: Path) -> None:
    """Write configuration and weights, and the tokenizer of the start as it was, byte for byte.

    So every library that could read the start reads the result, whatever this version of transformers writes.
    """
    if model.model is None:
        raise ModelLoadError("the trained model has no transformer to save")
    with without_chatter():
        model.model.save_pretrained(folder)
    for pattern in _TOKENIZER_FILES:
        for path in start.glob(pattern):
            shutil.copyfile(path, folder / path.name)


def _check(config: PretrainedConfig, folder: Path) -> None:
    architecture = (config.architectures or [""])[0]
    if architecture.endswith(_HEAD):
        check_architecture(config, folder)
    elif config.model_type not in SUPPORTED_FAMILIES:
        raise ModelLoadError(
            f"{folder}: expected a model of the families {', '.join(SUPPORTED_FAMILIES)}; found {config.model_type!r}"
        )


def _wake_pooler(model: CrossEncoder) -> None:
    """Give first weights to a pooler that is all zero: through zeros no gradient reaches the encoder."""
    import torch

    pooler = getattr(getattr(model.model, "base_model", None), "pooler", None)
    if pooler is not None and not pooler.dense.weight.any():
        torch.nn.init.orthogonal_(pooler.dense.weight)


@contextmanager
def _no_conversion_note() -> Iterator[None]:
    """Hide the note that a bi-encoder becomes a cross-encoder, which is what was asked for."""
    logger = logging.getLogger("sentence_transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
