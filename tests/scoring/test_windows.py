import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig

from checkpoints import FAMILIES, SENTENCES
from fr_reranker_plugin import SettingsError
from fr_reranker_plugin.scoring.tokenization import PairTokenizer
from fr_reranker_plugin.scoring.windows import cut_passages, window_spans
from hard_texts import HARD_TEXTS

QUERY = "Où déposer une plainte ?"
SHORT_WORDS = " ".join(SENTENCES * 12)
DIFFICULT = [
    *HARD_TEXTS,
    "\n".join(SENTENCES * 8),
    "👩🏽‍🚀 🇫🇷 😀 l'été " * 200,
    "e\u0301te\u0301 a\u0300 Ni\u0302mes " * 150,
    "x" * 3000,
    "東京都の天気は" * 200,
    "ﬁn ㎏ ﷺ … " * 150,
    " " * 900 + "fin",
    "\u200b\u00ad\ufeff" * 700,
    "mot\ud800 " * 700,
]


class ThreeLetters:
    """A tokenizer with tokens of three letters at most, and one more where a text begins within a word."""

    def __init__(self, room, beginning="V"):
        self.room = room
        self.beginning = beginning

    def spans(self, texts):
        return [
            [(0, 0)] * (not text.startswith(self.beginning)) + [match.span() for match in re.finditer(r"\S{1,3}", text)]
            for text in texts
        ]


words = st.text("abcé🙂", min_size=1, max_size=9).map(lambda word: "V" + word)
texts = st.lists(st.tuples(words, st.sampled_from([" ", "  ", ". ", " ! ", ".\n", ", "])), max_size=120).map(
    lambda parts: "".join(itertools.chain(*parts))
)


@given(texts, st.integers(1, 60), st.integers(0, 80))
def test_windows_cover_every_token_overlap_as_asked_and_are_never_too_long(text, size, overlap):
    [tokens] = ThreeLetters(0, beginning="").spans([text])
    windows = window_spans(text, tokens, size, overlap)
    assert windows[0][0] == 0
    assert windows[-1][1] == len(tokens)
    assert all(end - start <= size for start, end in windows)
    for (start, end), (following, following_end) in itertools.pairwise(windows):
        assert start < following <= end - min(overlap, size // 2)
        assert end < following_end


@given(texts, st.integers(8, 60), st.integers(0, 80))
def test_windows_are_not_many_more_than_needed(text, size, overlap):
    [tokens] = ThreeLetters(0, beginning="").spans([text])
    windows = window_spans(text, tokens, size, overlap)
    assert len(windows) <= 1 + len(tokens) / max(1, size - size // 4 - min(overlap, size // 2) - size // 8)


@given(texts, st.integers(40, 60), st.integers(0, 20))
def test_no_word_is_cut_where_words_are_short(text, size, overlap):
    for start, end in cut_passages(ThreeLetters(size), [("", text)], overlap=overlap)[0]:
        assert start == 0 or text[start - 1].isspace()
        assert end == len(text) or text[end].isspace()


@given(texts, texts, st.integers(2, 60), st.integers(0, 80))
def test_every_letter_is_in_a_window_that_fits_on_its_own(query, text, room, overlap):
    tokenizer = ThreeLetters(room)
    [windows] = cut_passages(tokenizer, [(query, text)], overlap=overlap)
    taken = min(len(tokenizer.spans([query])[0]), room - room // 2)
    if len(windows) > 1:
        assert all(len(tokenizer.spans([text[start:end]])[0]) <= max(2, room - taken) for start, end in windows)
    covered = {place for start, end in windows for place in range(start, end)}
    assert {place for place, letter in enumerate(text) if not letter.isspace()} <= covered


def test_an_accent_that_belongs_to_no_token_stays_with_its_letter():
    class LettersOnly(ThreeLetters):
        def spans(self, texts):
            return [[match.span() for match in re.finditer(r"[^\s\u0301]", text)] for text in texts]

    text = "e\u0301 " * 60
    for start, end in cut_passages(LettersOnly(10), [("", text)], overlap=0)[0]:
        assert text[start:end].split(" ") == ["e\u0301"] * ((end - start + 1) // 3)


def test_a_window_ends_with_a_sentence_if_one_ends_in_its_last_quarter():
    text = "Vab. " * 20 + "Vab " * 10 + "Vab. " + "Vab " * 40
    [first, *_] = cut_passages(ThreeLetters(60), [("", text)], overlap=0)[0]
    assert text[slice(*first)] == ("Vab. " * 20 + "Vab " * 10 + "Vab.")


def load(folder, max_length):
    return PairTokenizer.load(Path(folder), AutoConfig.from_pretrained(folder), max_length=max_length)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("max_length", [48, 512])
@pytest.mark.parametrize("overlap", [0, 16, 500])
def test_windows_of_difficult_texts_are_read_whole_and_miss_no_letter(checkpoint_of, family, max_length, overlap):
    tokenizer = load(checkpoint_of(family), max_length)
    pairs = [(QUERY, text) for text in [*DIFFICULT, SHORT_WORDS]]
    for (query, text), windows in zip(pairs, cut_passages(tokenizer, pairs, overlap=overlap), strict=True):
        covered = {place for start, end in windows for place in range(start, end)}
        assert {place for place, letter in enumerate(text) if not letter.isspace()} <= covered
        assert windows == sorted(windows)
        assert not any(pair.truncated for pair in tokenizer.encode([(query, text[a:b]) for a, b in windows]))


@pytest.mark.parametrize("family", FAMILIES)
def test_offsets_are_characters_and_windows_of_french_are_made_of_whole_words(checkpoint_of, family):
    text = "🇫🇷 👩🏽‍🚀 " + SHORT_WORDS.replace("é", "e\u0301") + " 🙂"
    [windows] = cut_passages(load(checkpoint_of(family), 128), [(QUERY, text)], overlap=20)
    assert len(windows) > 5
    for start, end in windows:
        assert start == 0 or text[start - 1].isspace()
        assert end == len(text) or text[end].isspace()
        assert text[start:end] == text[start:end].strip()


@pytest.mark.parametrize("family", FAMILIES)
def test_neighbours_share_the_tokens_that_were_asked_for(checkpoint_of, family):
    tokenizer = load(checkpoint_of(family), 128)
    [windows], [tokens] = cut_passages(tokenizer, [(QUERY, SHORT_WORDS)], overlap=20), tokenizer.spans([SHORT_WORDS])
    for (_, end), (start, _) in itertools.pairwise(windows):
        assert 20 <= sum(start <= last and first <= end for first, last in tokens) < 40


def test_a_passage_that_fits_is_one_window_to_the_token(tiny_model):
    tokenizer = load(tiny_model, 64)
    [question, token] = tokenizer.spans([QUERY, "payer"])
    room = (tokenizer.room - len(question)) // len(token) * len(token)
    passage = "payer " * (room // len(token) - 1) + "payer"
    assert len(tokenizer.spans([passage])[0]) == room
    assert cut_passages(tokenizer, [(QUERY, passage)], overlap=8) == [[(0, len(passage))]]
    assert len(cut_passages(tokenizer, [(QUERY, passage + " payer")], overlap=8)[0]) == 2


def test_a_long_query_leaves_its_windows_half_of_the_room(tiny_model):
    tokenizer = load(tiny_model, 65)
    query = "à " * 100
    [windows] = cut_passages(tokenizer, [(query, SHORT_WORDS)], overlap=8)
    pieces = tokenizer.spans([SHORT_WORDS[start:end] for start, end in windows])
    assert max(map(len, pieces)) <= tokenizer.room // 2
    first = tokenizer.encode([(query, SHORT_WORDS[slice(*windows[0])])])[0]
    read = tokenizer.encode([("", SHORT_WORDS[slice(*windows[0])])])[0]
    assert first.token_ids[-len(pieces[0]) - 1 :] == read.token_ids[-len(pieces[0]) - 1 :]


def test_passages_are_cut_by_the_query_they_are_paired_with(tiny_model):
    tokenizer = load(tiny_model, 64)
    pairs = [("à", SHORT_WORDS), ("à " * 20, SHORT_WORDS), ("à", "court")]
    short, long, whole = cut_passages(tokenizer, pairs, overlap=8)
    assert len(short) < len(long)
    assert whole == [(0, len("court"))]


def test_a_text_that_is_not_one_is_refused(tiny_model):
    with pytest.raises(SettingsError, match="must be a string"):
        cut_passages(load(tiny_model, 64), [("q", None)], overlap=8)
