"""Where a long passage is cut: overlapping windows of whole tokens that end where a sentence or a word does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from fr_reranker_plugin.scoring.scorer import Pair
from fr_reranker_plugin.scoring.texts import check_pairs

Span = tuple[int, int]
"""Start and end of a part of a text, in characters as Python counts them; the end is excluded."""

_SENTENCE_END: Final = re.compile(r"""[.!?…][\s»”’"')\]]*$|\n\s*$""")
_FAR_ENOUGH: Final = 8
"""Characters before a border that are looked at for the end of a sentence."""


class BestWindow(NamedTuple):
    """Where the best window of a passage lies, in characters, and how many windows of the passage were read."""

    start: int
    end: int
    windows: int


class TokenSpans(Protocol):
    """What of a tokenizer is needed to cut: how much fits, and where in a text each token stands."""

    @property
    def room(self) -> int:
        """How many tokens the query and the passage of a pair may have together."""

    def spans(self, texts: Sequence[str]) -> list[list[Span]]:
        """Give the characters that each token of each text stands for."""


def cut_passages(tokenizer: TokenSpans, pairs: Sequence[Pair], *, overlap: int) -> list[list[Span]]:
    """Cut each passage into windows of which each fits into a pair with the query, uncut.

    A passage that fits as it is makes one window: the whole of it. Of the room in a pair the query takes half at most,
    as in `longest_first`; a longer query is cut in every pair it makes, and its windows have half the room.

    :param pairs: Queries and passages.
    :param overlap: Tokens that neighbouring windows share at least; half a window at most, whatever is asked for.
    :returns: For each pair the windows of its passage in order, at least one.
    :raises SettingsError: If a query or a passage is not a string.
    """
    check_pairs(pairs)
    texts = list(dict.fromkeys(text for pair in pairs for text in pair))
    tokens = dict(zip(texts, tokenizer.spans(texts), strict=True))
    cut: dict[tuple[str, int], list[Span]] = {}
    answers = []
    for query, passage in pairs:
        room = max(tokenizer.room - len(tokens[query]), tokenizer.room // 2)
        if (passage, room) not in cut:
            cut[passage, room] = _cut(tokenizer, passage, tokens[passage], room=room, overlap=overlap)
        answers.append(cut[passage, room])
    return answers


def _cut(tokenizer: TokenSpans, text: str, tokens: Sequence[Span], *, room: int, overlap: int) -> list[Span]:
    """Cut one passage so that each window, tokenised on its own, has at most `room` tokens."""
    if len(tokens) <= room:
        return [(0, len(text))]
    size = room
    while True:
        places = (_characters(text, tokens, *window) for window in window_spans(text, tokens, size, overlap))
        windows = [(start, end) for start, end in places if start < end] or [(0, len(text))]
        # a piece of a word may have other tokens than the word, and more of them
        excess = max(map(len, tokenizer.spans([text[start:end] for start, end in windows]))) - room
        if excess <= 0 or size == 1:
            return windows
        size = max(1, size - excess)


def window_spans(text: str, tokens: Sequence[Span], size: int, overlap: int) -> list[Span]:
    """Give the first and last (excluded) token of each window.

    Every token is in a window, no window has more than `size` tokens, and a neighbour begins `overlap` tokens before
    the end of the one before it, or some tokens earlier where a word begins there. A window ends with the last
    sentence that ends in its last quarter, else with a word; a word is cut only if it fills that quarter.

    :param tokens: The characters of each token of `text`.
    :param size: Most tokens in a window, at least 1.
    :param overlap: Tokens that neighbours share at least; more than half of `size` counts as half.
    """
    overlap = min(overlap, size // 2)
    windows: list[Span] = []
    start = 0
    while start + size < len(tokens):
        full = start + size
        end = _end_of_window(text, tokens, full, at_least=full - size // 4)
        windows.append((start, end))
        following = end - overlap
        words = _word_starts(text, tokens, following, at_least=max(start + 1, following - size // 8))
        start = words[0] if words else following
    return [*windows, (start, len(tokens))]


def _end_of_window(text: str, tokens: Sequence[Span], full: int, *, at_least: int) -> int:
    words = _word_starts(text, tokens, full, at_least=at_least)
    sentences = (place for place in words if _ends_sentence(text, tokens[place][0]))
    return next(sentences, words[0] if words else full)


def _word_starts(text: str, tokens: Sequence[Span], at_most: int, *, at_least: int) -> list[int]:
    """Give the tokens in this range that begin a word, the last one first."""
    return [place for place in range(at_most, at_least - 1, -1) if _starts_word(text, tokens, place)]


def _starts_word(text: str, tokens: Sequence[Span], place: int) -> bool:
    """Whether white space stands before the token, or first in it, as SentencePiece has it."""
    start = tokens[place][0]
    is_within_a_character = start < tokens[place - 1][1]
    return not is_within_a_character and any(text[i : i + 1].isspace() for i in (start, start - 1) if i >= 0)


def _ends_sentence(text: str, place: int) -> bool:
    return _SENTENCE_END.search(text, max(0, place - _FAR_ENOUGH), place) is not None


def _characters(text: str, tokens: Sequence[Span], first: int, last: int) -> Span:
    """Give the characters of a window without white space around it; what has no token goes with what is before it."""
    start = tokens[first][0] if first else 0
    end = max(tokens[last - 1][1], tokens[last][0]) if last < len(tokens) else len(text)
    window = text[start:end]
    return start + len(window) - len(window.lstrip()), end - len(window) + len(window.rstrip())
