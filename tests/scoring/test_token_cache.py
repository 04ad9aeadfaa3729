import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin.scoring.checkpoint import embedded_checkpoint
from fr_reranker_plugin.scoring.loading import load_config
from fr_reranker_plugin.scoring.token_cache import TokenCache
from fr_reranker_plugin.scoring.tokenization import PairTokenizer

SIZE = 260
"""What a short text takes: its string, its tokens, and its place among the others; less than two of them."""


class Tokeniser:
    """One token per character; keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked.append(texts)
        return [[ord(character) for character in text] for text in texts]


@given(st.lists(st.lists(st.text(max_size=9), max_size=6), max_size=12), st.integers(0, 2000))
def test_whatever_was_asked_before_the_tokens_are_those_of_the_text(requests, max_bytes):
    cache, tokenise = TokenCache(max_bytes), Tokeniser()
    for texts in requests:
        found = cache.look_up(texts, tokenise)
        assert {text: list(ids) for text, ids in found.items()} == {text: [ord(c) for c in text] for text in texts}
        assert cache.bytes <= max_bytes


def test_what_is_kept_takes_no_more_memory_than_was_allowed():
    cache = TokenCache(1_000_000)
    tracemalloc.start()
    for number in range(20_000):
        cache.look_up([f"passage numéro {number}"], lambda texts: [range(len(text)) for text in texts])
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 800_000 < cache.bytes <= 1_000_000
    assert taken == pytest.approx(cache.bytes, rel=0.1)


def test_a_text_that_comes_again_is_not_tokenised_again():
    cache, tokenise = TokenCache(2000), Tokeniser()
    cache.look_up(["une", "deux", "une"], tokenise)
    cache.look_up(["deux", "trois"], tokenise)
    assert tokenise.asked == [["une", "deux"], ["trois"]]
    assert (cache.hits, cache.misses) == (1, 3)


def test_the_text_that_was_asked_for_longest_ago_is_forgotten_first():
    cache, tokenise = TokenCache(SIZE * 2), Tokeniser()
    cache.look_up(["aaaa", "bbbb"], tokenise)
    cache.look_up(["aaaa"], tokenise)
    cache.look_up(["cccc"], tokenise)
    cache.look_up(["aaaa", "bbbb"], tokenise)
    assert tokenise.asked[2:] == [["bbbb"]]


def test_a_text_longer_than_the_cache_is_answered_and_not_kept():
    cache, tokenise = TokenCache(SIZE), Tokeniser()
    for _ in range(2):
        assert len(cache.look_up(["longue" * 9], tokenise)["longue" * 9]) == 54
    assert len(tokenise.asked) == 2


def test_many_threads_get_the_right_tokens():
    cache, tokenise = TokenCache(SIZE * 12), Tokeniser()
    texts = ["".join(chr(97 + (i * j) % 26) for j in range(i % 7 + 1)) for i in range(200)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda text: list(cache.look_up([text], tokenise)[text]), texts * 5))
    assert found == [[ord(c) for c in text] for text in texts * 5]


def test_pairs_are_encoded_alike_from_the_cache_and_without_it():
    folder = embedded_checkpoint("cross_encoder")
    tokenizer = PairTokenizer.load(folder, load_config(folder), max_length=64)
    pairs = [("Où voter ?", "À la mairie. " * n) for n in (1, 9, 40)]
    first = tokenizer.encode(pairs)
    assert tokenizer.encode(pairs) == first
    assert tokenizer.cache.hits == 4
