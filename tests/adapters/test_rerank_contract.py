"""One contract, kept by every door: Haystack's and LangChain's, sync and async, and the plain scorer.

A door takes a query and texts, and gives the position and score of each text that it keeps, best first.
"""

import asyncio
import copy
import random

import pytest
import torch
from sentence_transformers import CrossEncoder as ReferenceCrossEncoder

from adapters.rerank_doors import DOORS
from checkpoints import SENTENCES
from fr_reranker_plugin import ModelSettings, make_pairs, shared_scorer
from fr_reranker_plugin.scoring.ranking import BLANK_LOGIT

QUERY = "Où déposer une plainte après un vol ?"
FROM_THE_REFERENCE = 1e-5
"""Largest difference to the scores of sentence-transformers."""

AMONG_BATCHES = 1e-4
"""Largest difference between scores of one pair in different batches, in float32."""

ODD_TEXTS = [
    "🇫🇷 Vive la mairie 🎉",
    "première ligne\nseconde ligne\r\n\ttroisième",
    "É" + "́" * 30 + "lève, ﬁn, cœur, « guillemets », l’apostrophe, 1 500 €",
    "mot " * 3000,
    "x" * 5000,
    "中文 العربية עברית",
    "\u200b\u00ad\ufeff",
    "</s><s> <pad> [SEP]",
]


@pytest.fixture(scope="module")
def warm_model(tiny_model):
    """The tiny model, held in memory for all doors of this file."""
    held = shared_scorer(ModelSettings(model=tiny_model))
    yield tiny_model
    held.close()


@pytest.fixture(params=DOORS)
def door(request, warm_model):
    return DOORS[request.param](warm_model)


@pytest.fixture(scope="module")
def reference(tiny_model):
    return ReferenceCrossEncoder(tiny_model, device="cpu")


def predicted(reference, query, texts, activation):
    scores = reference.predict(make_pairs(query, texts), activation_fn=activation, show_progress_bar=False)
    return dict(enumerate(scores.tolist()))


def positions_of(ranked):
    return [position for position, _ in ranked]


def scores_of(ranked):
    return [score for _, score in ranked]


def test_the_best_come_first_and_scores_equal_those_of_sentence_transformers(door, reference):
    ranked = door.rerank(QUERY, SENTENCES)
    expected = predicted(reference, QUERY, SENTENCES, torch.nn.Sigmoid())
    assert dict(ranked) == pytest.approx(expected, abs=FROM_THE_REFERENCE)
    assert positions_of(ranked) == sorted(expected, key=expected.get, reverse=True)
    assert scores_of(ranked) == sorted(scores_of(ranked), reverse=True)


def test_raw_scores_are_the_logits_in_the_same_order(door, reference):
    ranked = door.rerank(QUERY, SENTENCES, scale_score=False)
    assert dict(ranked) == pytest.approx(
        predicted(reference, QUERY, SENTENCES, torch.nn.Identity()), abs=10 * FROM_THE_REFERENCE
    )
    assert positions_of(ranked) == positions_of(door.rerank(QUERY, SENTENCES))


def test_a_score_is_a_python_float_between_zero_and_one(door):
    scores = scores_of(door.rerank(QUERY, [*SENTENCES, *ODD_TEXTS, ""]))
    assert {type(score) for score in scores} == {float}
    assert all(0.0 <= score <= 1.0 for score in scores)


@pytest.mark.parametrize(
    "query", [QUERY, "🙂 ?", "ligne\nligne", "mot " * 2000], ids=["plain", "emoji", "lines", "long"]
)
def test_odd_texts_are_scored_as_sentence_transformers_does(door, reference, query):
    ranked = door.rerank(query, ODD_TEXTS)
    assert dict(ranked) == pytest.approx(
        predicted(reference, query, ODD_TEXTS, torch.nn.Sigmoid()), abs=FROM_THE_REFERENCE
    )


@pytest.mark.parametrize("top_k", [1, 3, 6, 7, 1000, None])
def test_top_k_keeps_the_best_and_may_be_more_than_there_are(door, top_k):
    assert door.rerank(QUERY, SENTENCES, top_k=top_k) == door.rerank(QUERY, SENTENCES)[:top_k]


@pytest.mark.parametrize("top_k", [0, -3, True, 1.5])
@pytest.mark.parametrize("texts", [SENTENCES, []], ids=["texts", "no texts"])
def test_a_top_k_that_is_not_a_positive_whole_number_is_refused_even_for_no_texts(door, texts, top_k):
    with pytest.raises(ValueError, match="top_[kn]"):
        door.rerank(QUERY, texts, top_k=top_k)


def test_no_texts_give_no_results(door):
    assert door.rerank(QUERY, []) == []


@pytest.mark.parametrize("scale_score", [True, False])
def test_a_threshold_keeps_what_equals_it_and_comes_before_top_k(door, scale_score):
    ranked = door.rerank(QUERY, SENTENCES, scale_score=scale_score)
    third = ranked[2][1]
    assert door.rerank(QUERY, SENTENCES, score_threshold=third, scale_score=scale_score) == ranked[:3]
    assert door.rerank(QUERY, SENTENCES, score_threshold=third, top_k=2, scale_score=scale_score) == ranked[:2]
    assert door.rerank(QUERY, SENTENCES, score_threshold=third, top_k=5, scale_score=scale_score) == ranked[:3]
    assert door.rerank(QUERY, SENTENCES, score_threshold=ranked[0][1] + 1, scale_score=scale_score) == []


def test_a_threshold_that_cannot_be_compared_is_refused(door):
    with pytest.raises(ValueError, match="score_threshold"):
        door.rerank(QUERY, SENTENCES, score_threshold=float("nan"))


def test_texts_that_repeat_are_all_kept_with_one_score_and_in_their_order(door):
    texts = [SENTENCES[0], SENTENCES[1], SENTENCES[0], SENTENCES[2], SENTENCES[0]]
    ranked = door.rerank(QUERY, texts)
    repeated = [(position, score) for position, score in ranked if texts[position] == SENTENCES[0]]
    assert positions_of(repeated) == [0, 2, 4]
    assert len({score for _, score in repeated}) == 1
    assert len(ranked) == len(texts)


def test_texts_without_content_come_last_with_zero_or_the_lowest_logit(door):
    texts = ["", SENTENCES[0], " \n\t", SENTENCES[1], "\u00a0"]
    ranked = door.rerank(QUERY, texts)
    assert (positions_of(ranked)[2:], scores_of(ranked)[2:]) == ([0, 2, 4], [0.0] * 3)
    assert scores_of(ranked)[1] > 0.0
    assert scores_of(door.rerank(QUERY, texts, scale_score=False))[2:] == [BLANK_LOGIT] * 3
    assert door.rerank(QUERY, texts, score_threshold=0.0) == ranked
    assert door.rerank(QUERY, ["", " "]) == [(0, 0.0), (1, 0.0)]


def test_a_score_does_not_depend_on_the_other_texts(door):
    texts = [*SENTENCES, *ODD_TEXTS]
    among_others = dict(door.rerank(QUERY, texts))
    alone = {position: dict(door.rerank(QUERY, [text]))[0] for position, text in enumerate(texts)}
    assert among_others == pytest.approx(alone, abs=AMONG_BATCHES)


def test_a_score_does_not_depend_on_the_order(door):
    texts = [*SENTENCES, *ODD_TEXTS, ""]
    expected = {texts[position]: score for position, score in door.rerank(QUERY, texts)}
    for seed in range(3):
        shuffled = random.Random(seed).sample(texts, len(texts))
        ranked = door.rerank(QUERY, shuffled)
        assert {shuffled[position]: score for position, score in ranked} == pytest.approx(expected, abs=AMONG_BATCHES)


def test_the_callers_list_and_what_is_in_it_stay_as_they_were(door):
    items = door.items([*SENTENCES, "", SENTENCES[0]])
    kept, before = list(items), copy.deepcopy(items)
    door.rerank_items(QUERY, items, top_k=2)
    assert items == before
    assert all(item is same for item, same in zip(items, kept, strict=True))


def test_a_query_that_is_not_a_string_is_refused(door):
    for query in (None, 3, ["q"]):
        with pytest.raises(ValueError, match="query"):
            door.rerank(query, SENTENCES)


def test_many_requests_at_once_give_what_each_gives_alone(door):
    queries = [f"{word} ?" for word in " ".join(SENTENCES).split()]
    alone = [door.rerank(query, SENTENCES) for query in queries]

    async def all_at_once():
        return await asyncio.gather(*(asyncio.to_thread(door.rerank, query, SENTENCES) for query in queries))

    for expected, ranked in zip(alone, asyncio.run(all_at_once()), strict=True):
        assert dict(ranked) == pytest.approx(dict(expected), abs=AMONG_BATCHES)
