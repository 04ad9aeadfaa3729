"""Turn single texts into token ids, for a bi-encoder."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from fr_reranker_plugin.errors import ModelLoadError
from fr_reranker_plugin.retrieval.encoder_files import EncoderFiles
from fr_reranker_plugin.scoring.scorer import EncodedPair
from fr_reranker_plugin.scoring.texts import encodable
from fr_reranker_plugin.scoring.tokenization import allowed_length, position_limit, private_copy
from fr_reranker_plugin.scoring.tokenizer_files import load_tokenizer

if TYPE_CHECKING:
    from tokenizers.normalizers import Normalizer
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


class TextTokenizer:
    """A tokenizer of texts, set once, so that any number of threads may use it; see `PairTokenizer` for the reason.

    :param tokenizer: A fast tokenizer, as transformers loads it.
    :param max_length: Longest text in tokens, special tokens included; longer ones are cut.
    :param lower_case: Put texts into lower case before anything else.
    :raises ModelLoadError: If the tokenizer is not a fast one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_length: int, lower_case: bool = False) -> None:
        self._tokenizer = private_copy(tokenizer)
        if lower_case:
            self._tokenizer.normalizer = _lower_case_first(self._tokenizer.normalizer)
        self.max_length = max_length
        self.pad_token_id: int = tokenizer.pad_token_id or 0
        self._tokenizer.enable_truncation(max_length, direction=tokenizer.truncation_side)

    @classmethod
    def load(cls, files: EncoderFiles, config: PretrainedConfig, *, max_length: int | None) -> Self:
        """Load the tokenizer of a checkpoint.

        :param files: Those of the checkpoint.
        :param config: Its configuration, for the number of positions and of tokens.
        :param max_length: The length asked for; `None` takes 512, or less where the model is meant for less.
        :raises ModelLoadError: If the model has no positions, and so is not an encoder like BERT, or has no tokenizer
            that goes with it.
        :raises SettingsError: If `max_length` is above what the model can read.
        """
        if not hasattr(config, "max_position_embeddings"):
            raise ModelLoadError(
                f"{files.folder}: expected a text encoder like BERT, found the family {config.model_type!r}"
            )
        tokenizer = load_tokenizer(files.folder, config)
        limit = min(position_limit(config), tokenizer.model_max_length)
        length = allowed_length(max_length, limit=limit)
        if max_length is None:
            length = min(length, files.max_length() or length)
        return cls(tokenizer, max_length=length, lower_case=files.lower_case())

    def encode(self, texts: Sequence[str]) -> list[EncodedPair]:
        """Give the token ids of each text, special tokens included, in order; the type ids are all 0.

        Half characters (lone surrogates, from broken files) become question marks; UTF-8 has no place for them.
        """
        return [
            EncodedPair(
                ids := array("i", encoding.ids),
                array("i", [0]) * len(ids),
                len(ids) == self.max_length and bool(encoding.overflowing),
            )
            for encoding in self._tokenizer.encode_batch_fast([encodable(text) for text in texts])
        ]


def _lower_case_first(normalizer: Normalizer | None) -> Normalizer:
    """Do as sentence-transformers does for models that say `do_lower_case`."""
    from tokenizers.normalizers import Lowercase, Sequence

    return Lowercase() if normalizer is None else Sequence([Lowercase(), normalizer])
