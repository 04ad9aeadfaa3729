"""Which pieces of the multilingual vocabulary French needs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import islice

from tokenizers import Tokenizer

SHORT_LATIN = re.compile(r"[A-Za-zÀ-ÖØ-öø-ÿŒœŸ'’-]{1,3}")
# From the radicals to the last supplementary plane before the emoji.
EAST_ASIAN = range(0x2E80, 0x1F000)
FREQUENT_WORDS, FREQUENT_CAPITALS = 200_000, 50_000


def choose_pieces(tokenizer: Tokenizer, texts: Iterable[str], *, words: int = FREQUENT_WORDS) -> list[int]:
    """Return the ids to keep, ascending.

    A Unigram segmentation stays the same exactly when all of its pieces stay, so what is kept is what the full
    tokenizer uses: on `texts`, and on the most frequent French words in the contexts that change their pieces.
    Short Latin pieces, numbers, signs, emoji and the single letters of the alphabets come on top, so that no
    European text meets an unknown character.

    :param words: How many frequent words (of wordfreq's large French list) to take.
    """
    vocabulary = tokenizer.get_vocab()
    keep = {vocabulary[token] for token in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")}
    keep |= {i for piece, i in vocabulary.items() if is_structural(piece.replace("▁", ""))}
    for texts_or_words in (texts, frequent_words(words)):
        stream = iter(texts_or_words)
        while batch := list(islice(stream, 20_000)):
            encodings = tokenizer.encode_batch(batch, add_special_tokens=False)
            keep.update(i for encoding in encodings for i in encoding.ids)
    return sorted(keep)


def is_structural(piece: str) -> bool:
    """Tell whether a piece is kept whatever the texts say: signs, numbers, single letters, short Latin pieces."""
    if any(ord(c) in EAST_ASIAN for c in piece):
        return False
    if len(piece) <= 1 or SHORT_LATIN.fullmatch(piece):
        return True
    letters = [c for c in piece if unicodedata.category(c)[0] in "LM"]
    return all("LATIN" in unicodedata.name(c, "") for c in letters) and not piece.isalpha()


def frequent_words(count: int) -> Iterator[str]:
    """Yield frequent French words as they stand in texts: bare, capitalised, after an apostrophe or a bracket."""
    from wordfreq import iter_wordlist

    for rank, word in enumerate(islice(iter_wordlist("fr", "large"), count)):
        capital = word.capitalize()
        yield from (word, capital, f"l'{word}", f"l'{capital}", f"({word}", f"({capital}")
        if rank < FREQUENT_CAPITALS:
            yield word.upper()
