"""What is reranked, by protocol, and in which order it comes out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin.evaluation.pools import falling_scores, neutral_order, pool_of, reranked

IDS = st.lists(st.sampled_from([f"p{n}" for n in range(30)]), unique=True, max_size=20)
SIZES = st.none() | st.integers(1, 25)


@given(IDS, IDS, SIZES)
def test_two_stages_rerank_the_first_candidates_and_nothing_else(
    candidates: list[str], relevant: list[str], size: int | None
) -> None:
    assert pool_of(candidates, size, relevant=relevant, protocol="two-stage") == candidates[:size]


@given(IDS, IDS, SIZES)
def test_a_pool_has_every_relevant_passage_and_the_first_others(
    candidates: list[str], relevant: list[str], size: int | None
) -> None:
    pool = pool_of(candidates, size, relevant=relevant, protocol="pool")
    assert set(relevant) <= set(pool)
    assert len(set(pool)) == len(pool)
    others = [one for one in candidates if one not in relevant]
    assert [one for one in pool if one not in relevant] == others[: len(pool) - len(relevant)]
    assert len(pool) == max(len(relevant), min(size or 10**9, len(others) + len(relevant)))


@given(IDS, st.data())
def test_what_is_outside_the_pool_follows_as_it_stood(candidates: list[str], data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(candidates)))
    logits = {one: data.draw(st.sampled_from([-1.0, 0.0, 2.5])) for one in candidates[:size]}
    ranking = reranked(candidates, candidates[:size], logits)
    assert ranking[size:] == candidates[size:]
    assert sorted(ranking) == sorted(candidates)
    places = [(-logits[one], candidates.index(one)) for one in ranking[:size]]
    assert places == sorted(places)


def test_a_neutral_order_favours_neither_relevance_nor_the_file() -> None:
    lists = [[f"{n}-{k}" for k in range(10)] for n in range(500)]
    positives = sum(neutral_order(some)[0].endswith("-0") for some in lists)
    assert 20 <= positives <= 90  # one in ten, of 500
    assert all(neutral_order(some[::-1]) == neutral_order(some) for some in lists)


@given(st.lists(st.floats(-40, 40) | st.just(-3.4028234663852886e38)).map(lambda some: sorted(some, reverse=True)))
def test_scores_of_a_run_fall_even_as_32_bit_floats(logits: list[float]) -> None:
    scores = falling_scores(logits)
    assert np.all(np.diff(np.float32(scores)) < 0)
    assert np.all(np.isfinite(scores))
    apart = [at for at in range(len(logits)) if all(abs(logits[at] - other) > 1e-3 for other in logits[:at])]
    assert np.allclose(
        [scores[at] for at in apart if logits[at] > -50], [logits[at] for at in apart if logits[at] > -50]
    )
