"""From passages to the pairs to score, and back."""

import math
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin.errors import ScoringError
from fr_reranker_plugin.scoring.candidates import Candidates
from fr_reranker_plugin.scoring.long_documents import WindowedLogits
from fr_reranker_plugin.scoring.ranking import BLANK_LOGIT, rank_by_score
from fr_reranker_plugin.scoring.scorer import Logits
from fr_reranker_plugin.scoring.windows import BestWindow


@given(st.lists(st.one_of(st.none(), st.sampled_from("abcdef"))), st.randoms())
def test_equal_passages_share_one_pair_and_each_passage_gets_the_logit_of_its_text(passages, random):
    candidates = Candidates.from_passages("q", passages)
    texts = [passage for _, passage in candidates.pairs]
    assert len(set(texts)) == len(texts)
    logit_of = {text: random.uniform(-9, 9) for text in texts}
    logits = candidates.logits_of_passages([logit_of[text] for text in texts])
    assert logits == [BLANK_LOGIT if text is None else logit_of[text] for text in passages]


def test_a_passage_without_text_sorts_last_with_score_zero_and_survives_json():
    logits = Candidates.from_passages("q", [None, "texte"]).logits_of_passages([-500.0])
    ranked = rank_by_score(logits)
    assert [r.index for r in ranked] == [1, 0]
    assert ranked[-1].score == 0.0
    assert math.isfinite(rank_by_score(logits, scale_score=False)[-1].score)


@pytest.mark.parametrize("logits", [[], [1.0], [1.0, 2.0, 3.0]])
def test_a_scorer_that_gives_another_number_of_logits_than_pairs_is_an_error(logits):
    with pytest.raises(ScoringError, match="expected 2 logits"):
        Candidates.from_passages("q", ["a", "b"]).logits_of_passages(logits)


@pytest.mark.parametrize("logit", [float("nan"), float("inf"), float("-inf")])
def test_a_logit_that_cannot_be_sorted_is_an_error_that_shows_the_pair(logit):
    with pytest.raises(ScoringError, match="ma question.*mauvais passage"):
        Candidates.from_passages("ma question", ["mauvais passage"]).logits_of_passages([logit])


def test_the_passages_of_a_pair_are_all_that_hold_its_text():
    assert Candidates.from_passages("q", ["a", "b", "a", None]).passages_of_pairs([0]) == {0, 2}


def windowed(rows, data):
    count = sum(map(len, rows))
    cut = data.draw(st.lists(st.integers(0, count - 1), unique=True)) if count else []
    best = [BestWindow(place, place + 1, 1) for place in range(count)]
    return WindowedLogits([logit for row in rows for logit in row], truncated=cut, best=best), set(cut)


@given(st.lists(st.lists(st.floats(-9, 9), max_size=4), max_size=6), st.data())
def test_logits_fall_into_parts_and_join_again_with_all_that_is_known_of_them(rows, data):
    logits, cut = windowed(rows, data)
    parts = list(logits.parts(map(len, rows)))
    bounds = pairwise([0, *accumulate(map(len, rows))])
    for part, row, (start, end) in zip(parts, rows, bounds, strict=True):
        assert part == row
        assert part.truncated == tuple(sorted(place - start for place in cut if start <= place < end))
        assert [window.start for window in part.best] == list(range(start, end))
    joined = WindowedLogits.joined(parts)
    assert (joined, joined.truncated, joined.best) == (logits, logits.truncated, logits.best)


def test_what_is_said_of_a_pair_is_said_of_every_passage_with_its_text():
    candidates = Candidates.from_passages("q", ["aa", None, "b", "aa"])
    plain = candidates.spread(Logits([1.0, 2.0], truncated=[0]))
    assert plain == ([1.0, BLANK_LOGIT, 2.0, 1.0], {0, 3}, ())
    assert plain.found(0) == {}
    read = candidates.spread(WindowedLogits([1.0, 2.0], best=[BestWindow(1, 2, 3), BestWindow(0, 1, 1)]))
    assert [one["text"] for one in read.best] == ["a", "", "b", "a"]
    assert read.found(3) == {"best_passage": {"text": "a", "start": 1, "end": 2, "windows": 3}}
