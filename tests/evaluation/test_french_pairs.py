"""The fixed set holds what breaks things, and is the same everywhere."""

from itertools import groupby

import pytest

from fr_reranker_plugin.evaluation.french_pairs import FrenchPair, french_pairs, plain_pairs, ranking_quality
from fr_reranker_plugin.scoring.checkpoint import embedded_checkpoint
from fr_reranker_plugin.scoring.forward.precision import calibration_pairs
from fr_reranker_plugin.scoring.loading import load_config
from fr_reranker_plugin.scoring.tokenization import PairTokenizer

PAIRS = french_pairs()


def test_the_set_is_always_the_same_and_no_pair_stands_twice() -> None:
    assert french_pairs() == PAIRS
    assert 80 <= len(PAIRS) == len(set(plain_pairs(PAIRS))) <= 100


def test_the_pairs_of_a_question_stand_together() -> None:
    blocks = [query for query, _ in groupby(PAIRS, key=lambda pair: pair.query)]
    assert len(blocks) == len(set(blocks))


@pytest.mark.parametrize(
    "mark", ["œ", "Æ", "’", "'", "«", "\u00a0", "\u202f", "e\u0301", "€", "🇫🇷", "</s>", "\r\n", "%C3"]
)
def test_a_text_has_the_mark(mark: str) -> None:
    assert any(mark in pair.query + pair.passage for pair in PAIRS)


def test_there_are_pairs_alike_nearly_empty_short_and_too_long() -> None:
    folder = embedded_checkpoint("cross_encoder")
    tokenizer = PairTokenizer.load(folder, load_config(folder), max_length=None)
    encoded = tokenizer.encode(plain_pairs(PAIRS))
    assert sum(one.truncated for one in encoded) >= 4
    assert min(len(one.token_ids) for one in encoded) <= 6
    assert any(pair.query == pair.passage for pair in PAIRS)
    assert any(not pair.passage.strip() for pair in PAIRS)


def test_no_judged_question_is_one_on_which_int8_finds_its_ranges() -> None:
    judged = {pair.query for pair in PAIRS if pair.grade is not None}
    assert len(judged) == 20
    assert judged.isdisjoint(query for query, _ in calibration_pairs())


def test_each_judged_question_has_an_answer_and_two_passages_that_are_none() -> None:
    judged = [pair for pair in PAIRS if pair.grade is not None]
    for _, group in groupby(judged, key=lambda pair: pair.query):
        assert [pair.grade for pair in group] == [2, 0, 0]


def test_the_quality_of_a_ranking_is_that_of_its_judged_questions() -> None:
    pairs = [FrenchPair("q", "a", 2), FrenchPair("q", "b", 0), FrenchPair("r", "c", 1), FrenchPair("s", "d")]
    assert ranking_quality(pairs, [2.0, 1.0, 0.0, 0.0]) == {"nDCG@10": 100.0, "RR@10": 100.0}
    turned = ranking_quality(pairs, [1.0, 2.0, 0.0, 0.0])
    assert turned["RR@10"] == pytest.approx(75.0)
    assert turned["nDCG@10"] == pytest.approx(100 * (0.63093 + 1) / 2, abs=1e-3)
