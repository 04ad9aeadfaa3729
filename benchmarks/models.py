"""The checkpoint that is measured: XLM-RoBERTa base with random weights, or any other that is named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from fr_reranker_plugin.scoring.checkpoint import embedded_checkpoint

RANDOM_BASE: Final = "random-xlm-r-base"
RANDOM_TINY: Final = "random-xlm-r-tiny"
EMBEDDED: Final = "embedded"

_VERSION: Final = 2
"""Part of the folder's name: raise it when the recipe changes."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Layers, hidden size, attention heads and feed-forward size."""

    layers: int
    hidden: int
    heads: int
    feed_forward: int


SHAPES: Final = {RANDOM_BASE: Shape(12, 768, 12, 3072), RANDOM_TINY: Shape(2, 64, 2, 128)}


def checkpoint(model: str, *, cache: Path | None = None) -> Path:
    """Give the folder of the checkpoint to measure; random ones are made once and kept in `cache`.

    :param model: `"random-xlm-r-base"`, `"random-xlm-r-tiny"`, `"embedded"` or a folder.
    :raises FileNotFoundError: If there is no such folder.
    """
    if model == EMBEDDED:
        return embedded_checkpoint("cross_encoder")
    if model not in SHAPES:
        folder = Path(model).expanduser()
        if not (folder / "config.json").is_file():
            names = ", ".join((*SHAPES, EMBEDDED))
            raise FileNotFoundError(f"model must be one of {names}, or a folder with a config.json; got {model!r}")
        return folder
    folder = (cache or default_cache()) / f"{model}-v{_VERSION}"
    if not (folder / "model.safetensors").is_file():
        make_random(folder, SHAPES[model])
    return folder


def default_cache() -> Path:
    """Give the folder for what benchmarks make once: checkpoints and exported graphs."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "fr-reranker-benchmarks"


def make_random(folder: Path, shape: Shape, *, seed: int = 0) -> None:
    """Write an XLM-RoBERTa cross-encoder with random weights and the embedded model's tokenizer.

    The weights are drawn as transformers draws them. Their logits differ little between texts, and rounding moves a
    logit about as much as in a trained model; a head scaled to trained logits would make that many times more. The
    vocabulary is that of the tokenizer (54 thousand pieces, not 250 thousand): embeddings are looked up, so their
    number costs memory and no time.
    """
    import torch
    from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(embedded_checkpoint("cross_encoder"), local_files_only=True)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=514,
        type_vocab_size=1,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    XLMRobertaForSequenceClassification(config).eval().save_pretrained(folder)


def tokenizer_of(folder: Path) -> Tokenizer:
    """Read the tokenizer of a checkpoint."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def describe(folder: Path) -> dict[str, Any]:
    """Give the size of a checkpoint for the result file."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    names: Sequence[str] = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size",
                            "vocab_size", "max_position_embeddings")  # fmt: skip
    return {"family": config.model_type, **{name: getattr(config, name, None) for name in names}}
