"""French texts of wanted lengths, cut from and joined out of the sample collection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Final

import numpy as np
from tokenizers import Tokenizer

from fr_reranker_plugin.collections import load_collection

SAMPLE: Final = Path(__file__).parents[1] / "examples" / "sample_collection"

_SHORTEST_PASSAGE: Final = 4


@dataclass(frozen=True, slots=True)
class LengthMix:
    """A log-normal distribution of pair lengths in tokens, special tokens included.

    :param mean: Mean length. The default is that of mMARCO passages with their questions.
    :param sigma: Standard deviation of the logarithm; 0 makes all lengths alike. 0.496 puts the 95th percentile at
        twice the mean.
    :param longest: Longer ones are this long.
    """

    mean: float = 90
    sigma: float = 0.496
    longest: int = 512

    def lengths(self, count: int, random: np.random.Generator) -> list[int]:
        """Give `count` lengths in random order: the quantiles of the distribution, so that any count has its mix."""
        centre = math.log(self.mean) - self.sigma**2 / 2
        quantiles = (
            [NormalDist(centre, self.sigma).inv_cdf((at + 0.5) / count) for at in range(count)]
            if (self.sigma)
            else [centre] * count
        )
        lengths = [min(self.longest, round(math.exp(quantile))) for quantile in quantiles]
        return [lengths[place] for place in random.permutation(count)]


class FrenchTexts:
    """Questions as they stand in a collection, and passages of any length made of its passages.

    :param tokenizer: Counts the tokens.
    :param seed: Equal seeds give equal texts.
    """

    def __init__(self, tokenizer: Tokenizer, *, seed: int = 0, collection: Path = SAMPLE) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.random = np.random.default_rng(seed)
        judged = load_collection(collection)
        self._questions = list(judged.queries.values())
        self._words = [passage.full_text.split() for passage in judged.corpus.values()]
        self._word_tokens: dict[str, int] = {}
        self.special_tokens = self._tokenizer.num_special_tokens_to_add(is_pair=True)

    def question(self, at_most: int) -> str:
        """Give a random question of at most `at_most` tokens, or else the start of one."""
        places = self.random.permutation(len(self._questions))
        for place in places:
            if self.tokens(self._questions[place]) <= at_most:
                return self._questions[place]
        return self._cut(self._questions[places[0]].split(), at_most)

    def passage(self, tokens: int) -> str:
        """Give French text of about `tokens` tokens: neighbouring passages, joined and cut at a word."""
        place = int(self.random.integers(len(self._words)))
        words = self._words[place]
        text = words[int(self.random.integers(max(1, len(words) // 2))) :]
        while sum(map(self._count_word, text)) < tokens:
            place = (place + 1) % len(self._words)
            text = [*text, *self._words[place]]
        return self._cut(text, tokens)

    def request(self, lengths: Sequence[int]) -> list[tuple[str, str]]:
        """Give one question with a passage for each length, such that each pair has about that many tokens."""
        question = self.question(at_most=max(1, min(lengths) - self.special_tokens - _SHORTEST_PASSAGE))
        taken = self.tokens(question) + self.special_tokens
        return [(question, self.passage(max(_SHORTEST_PASSAGE, length - taken))) for length in lengths]

    def tokens(self, text: str) -> int:
        """Count the tokens of a text, without special tokens."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def pair_tokens(self, pairs: Sequence[tuple[str, str]]) -> list[int]:
        """Count the tokens of pairs before any cut, special tokens included."""
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        counts = {text: len(encoding.ids) for text, encoding in zip(texts, encodings, strict=True)}
        return [counts[question] + counts[passage] + self.special_tokens for question, passage in pairs]

    def _cut(self, words: Sequence[str], tokens: int) -> str:
        kept: list[str] = []
        for word in words:
            tokens -= self._count_word(word)
            if tokens < 0 and kept:
                break
            kept.append(word)
        return " ".join(kept)

    def _count_word(self, word: str) -> int:
        if word not in self._word_tokens:
            self._word_tokens[word] = self.tokens(word)
        return self._word_tokens[word]
