"""The tokenizer that a checkpoint brings along: whether it is there, and whether it belongs to the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from fr_reranker_plugin.errors import ModelLoadError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

_VOCABULARIES: Final = (("tokenizer.json",), ("*.model",), ("vocab.txt",), ("vocab.json", "merges.txt"))
"""Any of these holds the words: what all families have; else XLM-R and CamemBERT, BERT and DistilBERT, RoBERTa."""


def has_tokenizer(folder: Path) -> bool:
    """Tell whether a checkpoint has the files of a tokenizer."""
    return any(all(any(folder.glob(name)) for name in names) for names in _VOCABULARIES)


def check_has_tokenizer(folder: Path) -> None:
    """Refuse a checkpoint without a vocabulary: transformers would invent one of five entries, and no word be known.

    :raises ModelLoadError: Then.
    """
    if not has_tokenizer(folder):
        expected = ", or ".join(" with ".join(names) for names in _VOCABULARIES)
        raise ModelLoadError(
            f"{folder} has no tokenizer: expected {expected}; save the tokenizer beside the model, or fetch it again"
        )


def load_tokenizer(folder: Path, config: PretrainedConfig) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a checkpoint.

    :param folder: The checkpoint.
    :param config: Its configuration, for the number of rows that the model has for tokens.
    :raises ModelLoadError: If there is none, it is damaged, or it gives ids that the model has no rows for.
    """
    from transformers import AutoTokenizer

    check_has_tokenizer(folder)
    tokenizer: PreTrainedTokenizerBase
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True)
    except Exception as error:
        raise ModelLoadError(
            f"the tokenizer in {folder} cannot be read ({type(error).__name__}: {error}); fetch it again, or save it "
            "as tokenizer.json where it comes from"
        ) from error
    rows: int | None = getattr(config, "vocab_size", None)
    highest = max(tokenizer.get_vocab().values(), default=0)
    if rows is not None and highest >= rows:
        raise ModelLoadError(
            f"the tokenizer in {folder} gives ids up to {highest}, and the model knows those below {rows} only; "
            "they are not of one model: save or fetch both again"
        )
    return tokenizer
