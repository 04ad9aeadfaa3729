"""Turn pairs of text into token ids, exactly as the reference libraries do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fr_reranker_plugin.errors import ModelLoadError, SettingsError
from fr_reranker_plugin.scoring.scorer import EncodedPair, Pair

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

DEFAULT_MAX_LENGTH: Final = 512

_POSITIONS_START_AFTER_PADDING: Final = frozenset({"xlm-roberta", "roberta", "camembert"})


class PairTokenizer:
    """A tokenizer with one setting for its whole life, so that any number of threads may use it at once.

    The tokenizers of transformers keep truncation and padding as shared state, and two callers with different settings
    silently get each other's (huggingface/transformers#47085). This one owns a copy that is set once and never changed.

    :param tokenizer: A fast tokenizer, as transformers loads it.
    :param max_length: Longest pair in tokens, special tokens included. Longer ones are cut by `longest_first`: tokens
        go from the longer text until the pair fits, so a short query stays whole.
    :raises ModelLoadError: If the tokenizer is not a fast one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> None:
        from tokenizers import Tokenizer

        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelLoadError(
                f"{type(tokenizer).__name__} is not a fast tokenizer; save the model with a tokenizer.json"
            )
        self.max_length = max_length
        self.pad_token_id: int = tokenizer.pad_token_id or 0
        self.uses_type_ids: bool = "token_type_ids" in tokenizer.model_input_names
        self._tokenizer = Tokenizer.from_str(backend.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length, strategy="longest_first", direction=tokenizer.truncation_side)

    @classmethod
    def load(cls, folder: Path, config: PretrainedConfig, *, max_length: int | None) -> PairTokenizer:
        """Load the tokenizer of a checkpoint.

        :param folder: The checkpoint.
        :param config: Its configuration, for the number of positions.
        :param max_length: The length asked for; `None` takes 512, or the model's own limit where that is smaller.
        :raises SettingsError: If `max_length` is above what the model can read.
        """
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True)
        limit = min(position_limit(config), tokenizer.model_max_length)
        if max_length is not None and max_length > limit:
            raise SettingsError(f"max_length={max_length} is above the {limit} tokens that this model can read")
        return cls(tokenizer, max_length=min(DEFAULT_MAX_LENGTH, limit) if max_length is None else max_length)

    def encode(self, pairs: Sequence[Pair]) -> list[EncodedPair]:
        """Tokenise `pairs`, one result each, in order.

        Half characters (lone surrogates, from broken files) become question marks; UTF-8 has no place for them.

        :raises SettingsError: If a query or a passage is not a string.
        """
        texts = [
            (_utf8("query", query, at), _utf8("passage", passage, at)) for at, (query, passage) in enumerate(pairs)
        ]
        encodings = self._tokenizer.encode_batch_fast(texts)
        return [EncodedPair(e.ids, e.type_ids, bool(e.overflowing)) for e in encodings]


def position_limit(config: PretrainedConfig) -> int:
    """Give the longest input in tokens that a model has positions for.

    The RoBERTa family numbers positions from `pad_token_id + 1`: 514 positions hold 512 tokens.
    """
    positions: int = config.max_position_embeddings
    if config.model_type in _POSITIONS_START_AFTER_PADDING:
        return positions - (config.pad_token_id or 0) - 1
    return positions


def _utf8(name: str, text: object, position: int) -> str:
    if not isinstance(text, str):
        raise SettingsError(f"the {name} of pair {position} must be a string, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text
