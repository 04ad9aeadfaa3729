"""Exact search gives the best inner products, best first, ties in the order of the passages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin import SettingsError
from fr_reranker_plugin.retrieval.exact_search import top_passages


@given(seed=st.integers(0, 1000), queries=st.integers(0, 4), passages=st.integers(0, 30), k=st.integers(1, 40))
def test_it_finds_what_comparing_one_by_one_finds(seed: int, queries: int, passages: int, k: int) -> None:
    random = np.random.default_rng(seed)
    asked = random.standard_normal((queries, 8)).astype(np.float32)
    given_ = random.standard_normal((passages, 8)).astype(np.float32)
    scores, places = top_passages(asked, given_, k)
    assert scores.shape == places.shape == (queries, min(k, passages))
    for row in range(queries):
        best = sorted((-float(np.dot(asked[row].astype(float), vector)), at) for at, vector in enumerate(given_))[:k]
        assert [at for _, at in best] == places[row].tolist()
        assert np.allclose([-score for score, _ in best], scores[row], atol=1e-5)


@pytest.mark.parametrize("copies", [3, 5, 13, 67])
def test_equal_passages_have_equal_scores_and_keep_their_order(copies: int) -> None:
    random = np.random.default_rng(0)
    passages = np.tile(random.standard_normal((3, 384)).astype(np.float32), (copies, 1))
    scores, places = top_passages(random.standard_normal((3, 384)).astype(np.float32), passages, len(passages))
    for row in range(3):
        assert len(np.unique(scores[row])) == 3
        for score in np.unique(scores[row]):
            assert (np.diff(places[row][scores[row] == score]) == 3).all()


def test_k_below_one_is_refused() -> None:
    with pytest.raises(SettingsError, match="k must be >= 1, but got 0"):
        top_passages(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32), 0)


def test_vectors_of_different_lengths_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"expected shapes \(q, d\) and \(n, d\), got \(1, 2\) and \(1, 3\)"):
        top_passages(np.zeros((1, 2), np.float32), np.zeros((1, 3), np.float32), 1)
