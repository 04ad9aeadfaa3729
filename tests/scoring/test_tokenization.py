import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import CrossEncoder as Reference
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoTokenizer

from checkpoints import FAMILIES, SENTENCES
from engines import TIMEOUT
from fr_reranker_plugin import ModelLoadError, SettingsError
from fr_reranker_plugin.scoring.tokenization import PairTokenizer, longest_first, position_limit
from hard_texts import hard_pairs


def load(folder, max_length=None):
    return PairTokenizer.load(Path(folder), AutoConfig.from_pretrained(folder), max_length=max_length)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("max_length", [None, 64])
def test_token_ids_and_types_equal_those_of_sentence_transformers(checkpoint_of, family, max_length):
    folder = checkpoint_of(family)
    reference = Reference(str(folder), device="cpu", max_length=max_length)
    pairs = hard_pairs(400)
    theirs = reference.preprocess([list(pair) for pair in pairs])
    for row, ours in enumerate(load(folder, max_length).encode(pairs)):
        length = int(theirs["attention_mask"][row].sum())
        assert list(ours.token_ids) == theirs["input_ids"][row, :length].tolist()
        if "token_type_ids" in theirs:
            assert list(ours.type_ids) == theirs["token_type_ids"][row, :length].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_no_pair_is_longer_than_the_model_can_read(checkpoint_of, family):
    tokenizer = load(checkpoint_of(family))
    encoded = tokenizer.encode([("question " * 2000, "passage " * 2000)])
    assert tokenizer.max_length == 512
    assert len(encoded[0].token_ids) == 512


def test_a_pair_takes_four_bytes_for_each_number(tiny_model):
    (pair,) = load(tiny_model).encode([("Où voter ?", "À la mairie. " * 200)])
    for numbers in (pair.token_ids, pair.type_ids):
        assert len(memoryview(numbers)) == 512
        assert memoryview(numbers).nbytes == 4 * 512


def test_the_passage_is_cut_and_the_question_stays_whole_when_the_question_is_short(tiny_model):
    tokenizer = load(tiny_model, max_length=64)
    (whole,) = load(tiny_model).encode([("Où déposer une plainte ?", "")])
    (cut,) = tokenizer.encode([("Où déposer une plainte ?", "Au commissariat. " * 50)])
    question = whole.token_ids[1 : whole.token_ids.index(2)]
    assert cut.token_ids[1 : 1 + len(question)] == question
    assert (len(cut.token_ids), cut.truncated, whole.truncated) == (64, True, False)


@given(st.integers(0, 90), st.integers(0, 90), st.integers(2, 60))
def test_texts_are_cut_to_the_lengths_of_the_tokenizers_library(first, second, room):
    words = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.enable_truncation(room, strategy="longest_first")
    ids = words.encode("a " * first, "b " * second).ids
    assert longest_first(first, second, room) == (ids.count(0), ids.count(1))


def test_the_end_of_a_text_is_kept_where_the_tokenizer_says_so(tiny_model):
    reference = AutoTokenizer.from_pretrained(tiny_model, truncation_side="left")
    pair = ("Où voter ?", "un mot " * 100 + "la fin")
    (ours,) = PairTokenizer(reference, max_length=32).encode([pair])
    assert list(ours.token_ids) == reference(*pair, truncation="longest_first", max_length=32)["input_ids"]


def test_a_text_that_stands_in_many_pairs_is_encoded_once(tiny_model):
    tokenizer = load(tiny_model)
    alone = [tokenizer.encode([("Où voter ?", passage)])[0] for passage in SENTENCES]
    assert tokenizer.encode([("Où voter ?", passage) for passage in SENTENCES]) == alone


def test_a_length_above_the_models_own_is_refused_with_the_limit(tiny_model):
    with pytest.raises(SettingsError, match="max_length=513 is above the 512 tokens"):
        load(tiny_model, max_length=513)


def test_the_roberta_family_has_two_positions_less_than_its_table(checkpoint_of):
    assert position_limit(AutoConfig.from_pretrained(checkpoint_of("xlm-roberta"))) == 512
    assert position_limit(AutoConfig.from_pretrained(checkpoint_of("bert"))) == 512


def test_half_characters_become_question_marks(tiny_model):
    broken, marked = load(tiny_model).encode([("caf\ud800", "x"), ("caf?", "x")])
    assert broken == marked


@pytest.mark.parametrize("pair", [("q", None), (None, "p"), ("q", 3), ("q", b"octets")])
def test_a_text_that_is_not_a_string_is_named_by_place_and_type(tiny_model, pair):
    with pytest.raises(SettingsError, match=r"(query|passage) of pair 1 must be a string, got (NoneType|int|bytes)"):
        load(tiny_model).encode([("q", "p"), pair])


class SlowTokenizer:
    """A tokenizer without the Rust back end."""


def test_a_slow_tokenizer_is_refused():
    with pytest.raises(ModelLoadError, match=r"tokenizer\.json"):
        PairTokenizer(SlowTokenizer(), max_length=32)


def test_threads_with_different_lengths_get_the_ids_they_would_get_alone(tiny_model):
    tokenizers = [load(tiny_model, max_length=length) for length in (16, 40, 512)]
    pairs = hard_pairs(60, seed=1)
    alone = [tokenizer.encode(pairs) for tokenizer in tokenizers]
    barrier = threading.Barrier(12)

    def encode(number):
        barrier.wait(TIMEOUT)
        which = number % 3
        return all(tokenizers[which].encode(pairs) == alone[which] for _ in range(20))

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(encode, range(12)))
