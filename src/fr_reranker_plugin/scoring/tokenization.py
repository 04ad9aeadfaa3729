"""Turn pairs of text into token ids, exactly as the reference libraries do."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self, cast

from fr_reranker_plugin.errors import ModelLoadError, SettingsError
from fr_reranker_plugin.scoring.scorer import EncodedPair, Pair
from fr_reranker_plugin.scoring.texts import check_pairs, encodable
from fr_reranker_plugin.scoring.token_cache import TokenCache, TokenIds
from fr_reranker_plugin.scoring.tokenizer_files import load_tokenizer
from fr_reranker_plugin.scoring.windows import Span

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

DEFAULT_MAX_LENGTH: Final = 512

_POSITIONS_START_AFTER_PADDING: Final = frozenset({"xlm-roberta", "roberta", "camembert"})


class _Template(NamedTuple):
    """What stands around and between the two texts of a pair, as token ids and as type ids.

    `types` are the type ids of the five parts: start, query, middle, passage, end.
    """

    start: list[int]
    middle: list[int]
    end: list[int]
    types: tuple[int, int, int, int, int]

    @property
    def size(self) -> int:
        return len(self.start) + len(self.middle) + len(self.end)

    def fill(self, query: Sequence[int], passage: Sequence[int], *, truncated: bool) -> EncodedPair:
        parts = (self.start, query, self.middle, passage, self.end)
        token_ids, type_ids = array("i"), array("i")
        for kind, part in zip(self.types, parts, strict=True):
            token_ids.extend(part)
            type_ids.extend(array("i", [kind]) * len(part))
        return EncodedPair(token_ids, type_ids, truncated)


class PairTokenizer:
    """A tokenizer with one setting for its whole life, so that any number of threads may use it at once.

    The tokenizers of transformers keep truncation and padding as shared state, and two callers with different settings
    silently get each other's (huggingface/transformers#47085). This one owns a copy that neither cuts nor pads; texts
    are encoded one by one, a text that stands in several pairs once, and then cut and joined here. The result is the
    reference libraries' to the token. They also build every combination of the left-over pieces of two long texts,
    which takes gigabytes for a long question with a long passage.

    :param tokenizer: A fast tokenizer, as transformers loads it.
    :param max_length: Longest pair in tokens, special tokens included. Longer ones are cut by `longest_first`: tokens
        go from the longer text until the pair fits, so a short query stays whole.
    :raises ModelLoadError: If the tokenizer is not a fast one, or joins pairs in a way we do not know.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> None:
        self._tokenizer = private_copy(tokenizer)
        self.max_length = max_length
        self.pad_token_id: int = tokenizer.pad_token_id or 0
        self.uses_type_ids: bool = "token_type_ids" in tokenizer.model_input_names
        self._keeps_end: bool = tokenizer.truncation_side == "left"
        self._template = _read_template(self._tokenizer)
        self.cache = TokenCache()

    @classmethod
    def load(cls, folder: Path, config: PretrainedConfig, *, max_length: int | None) -> Self:
        """Load the tokenizer of a checkpoint.

        :param folder: The checkpoint.
        :param config: Its configuration, for the number of positions and of tokens.
        :param max_length: The length asked for; `None` takes 512, or the model's own limit where that is smaller.
        :raises ModelLoadError: If there is none that goes with the model.
        :raises SettingsError: If `max_length` is above what the model can read.
        """
        tokenizer = load_tokenizer(folder, config)
        limit = min(position_limit(config), tokenizer.model_max_length)
        return cls(tokenizer, max_length=allowed_length(max_length, limit=limit))

    def encode(self, pairs: Sequence[Pair]) -> list[EncodedPair]:
        """Tokenise `pairs`, one result each, in order.

        Half characters (lone surrogates, from broken files) become question marks; UTF-8 has no place for them.

        :raises SettingsError: If a query or a passage is not a string.
        """
        check_pairs(pairs)
        texts = [(encodable(query), encodable(passage)) for query, passage in pairs]
        ids = self.cache.look_up((text for pair in texts for text in pair), self._tokenise)
        return [self._join(ids[query], ids[passage]) for query, passage in texts]

    def _tokenise(self, texts: list[str]) -> list[Sequence[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    @property
    def room(self) -> int:
        """How many tokens the query and the passage of a pair may have together."""
        return self.max_length - self._template.size

    def spans(self, texts: Sequence[str]) -> list[list[Span]]:
        """Give the characters that each token of each text stands for; they may be fewer than the token was made of."""
        readable = [encodable(text) for text in texts]
        return [encoding.offsets for encoding in self._tokenizer.encode_batch(readable, add_special_tokens=False)]

    def _join(self, query: TokenIds, passage: TokenIds) -> EncodedPair:
        room = self.room
        if len(query) + len(passage) <= room:
            return self._template.fill(query, passage, truncated=False)
        query_length, passage_length = longest_first(len(query), len(passage), room)
        return self._template.fill(self._cut(query, query_length), self._cut(passage, passage_length), truncated=True)

    def _cut(self, ids: TokenIds, length: int) -> TokenIds:
        return ids[len(ids) - length :] if self._keeps_end else ids[:length]


def private_copy(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """Copy what does the work in a fast tokenizer, so that nobody else changes its settings; it neither cuts nor pads.

    :raises ModelLoadError: If the tokenizer is not a fast one.
    """
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelLoadError(
            f"{type(tokenizer).__name__} is not a fast tokenizer; save the model with a tokenizer.json"
        )
    copy = Tokenizer.from_str(backend.to_str())
    copy.no_padding()
    copy.no_truncation()
    return copy


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """Give the lengths to which two texts are cut so that together they have at most `room` tokens.

    The rule of the tokenizers library (`src/utils/truncation.rs`): the longer one is cut down to the shorter one's
    length at most, then both alike.

    :param first: Length of the first text in tokens.
    :param second: Length of the second text in tokens.
    :param room: Tokens that fit.
    """
    if first + second <= room:
        return first, second
    shorter = min(first, second)
    longer = shorter if shorter > room else max(shorter, room - shorter)
    if shorter + longer > room:
        shorter, longer = room // 2, room // 2 + room % 2
    return (longer, shorter) if first > second else (shorter, longer)


def _read_template(tokenizer: Tokenizer) -> _Template:
    """Learn from a pair how the tokenizer joins two texts, and check it on others."""
    probe = tokenizer.encode("un", "deux")
    places = probe.sequence_ids
    query = [i for i, sequence in enumerate(places) if sequence == 0]
    passage = [i for i, sequence in enumerate(places) if sequence == 1]
    if not query or not passage or query[-1] > passage[0]:
        raise ModelLoadError("this tokenizer does not put the query before the passage; it is not made for pairs")
    bounds = (0, query[0], query[-1] + 1, passage[0], passage[-1] + 1)
    start, middle, end = (probe.ids[i:j] for i, j in ((0, bounds[1]), (bounds[2], bounds[3]), (bounds[4], None)))
    types = tuple(probe.type_ids[i] if i < len(probe.type_ids) else 0 for i in bounds)
    template = _Template(start, middle, end, cast("tuple[int, int, int, int, int]", types))
    for pair in (("un", "deux"), ("", ""), ("une question ?", ""), ("", "L'été\nà Nîmes"), ("a b c", "d'e f. g")):
        whole = tokenizer.encode(*pair)
        parts = [tokenizer.encode(text, add_special_tokens=False).ids for text in pair]
        found = template.fill(*parts, truncated=False)
        if (list(found.token_ids), list(found.type_ids)) != (whole.ids, whole.type_ids):
            raise ModelLoadError(
                f"this tokenizer joins the pair {pair} in a way we do not know; please report the model"
            )
    return template


def allowed_length(wanted: int | None, *, limit: int) -> int:
    """Give the length to cut at, in tokens: the one that is wanted, or else 512, or the model's limit if that is less.

    :raises SettingsError: If more is wanted than the model can read.
    """
    if wanted is None:
        return min(DEFAULT_MAX_LENGTH, limit)
    if wanted > limit:
        raise SettingsError(f"max_length={wanted} is above the {limit} tokens that this model can read")
    return wanted


def position_limit(config: PretrainedConfig) -> int:
    """Give the longest input in tokens that a model has positions for.

    The RoBERTa family numbers positions from `pad_token_id + 1`: 514 positions hold 512 tokens.
    """
    positions: int = config.max_position_embeddings
    if config.model_type in _POSITIONS_START_AFTER_PADDING:
        return positions - (config.pad_token_id or 0) - 1
    return positions
