"""One contract, kept by every door: Haystack's and LangChain's, sync and async, and the plain scorer.

A door takes a query and texts, and gives the position and score of each text that it keeps, best first.
"""

import asyncio
import copy
import random

import pytest
import torch
from sentence_transformers import CrossEncoder as ReferenceCrossEncoder

from adapters.rerank_doors import DOORS, REMOTE_DOORS
from checkpoints import SENTENCES
from fr_reranker_plugin import ModelSettings, SharedScorer, make_pairs, shared_scorer
from fr_reranker_plugin.scoring.ranking import BLANK_LOGIT
from serving.conftest import running

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


@pytest.fixture(scope="module")
def server_url(warm_model):
    """The address of a server with the tiny model."""
    with running(SharedScorer(ModelSettings(model=warm_model))) as server:
        yield server.url


@pytest.fixture(params=[*DOORS, *REMOTE_DOORS])
def door(request, warm_model):
    if request.param in REMOTE_DOORS:
        return REMOTE_DOORS[request.param](request.getfixturevalue("server_url"))
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


LONG_TEXTS = [
    SENTENCES[0],
    " ".join(SENTENCES * 8),
    "",
    "🇫🇷 " + "e\u0301le\u0300ve " * 200 + SENTENCES[4],
    SENTENCES[4],
    "l'élève" * 100,
]


@pytest.fixture(params=DOORS)
def reading(request, warm_model):
    """Make a door that reads long documents in a way of its own; 96 tokens make a window."""

    def made(**windows):
        return DOORS[request.param](warm_model, max_length=96, window_overlap=16, **windows)

    return made


@pytest.fixture(scope="module")
def best_windows(warm_model):
    """Scores of the best windows, computed pair by pair."""
    scorer = shared_scorer(ModelSettings(model=warm_model, max_length=96))
    spans = scorer.windows(make_pairs(QUERY, LONG_TEXTS), overlap=16)
    windows = [[text[start:end] for start, end in found] for text, found in zip(LONG_TEXTS, spans, strict=True)]
    logits = [[scorer.score([(QUERY, window)])[0] for window in found] for found in windows]
    scorer.close()
    return spans, logits


def test_every_door_gives_the_same_windows_with_the_scores_of_their_texts(reading, best_windows):
    spans, logits = best_windows
    ranked = reading(long_documents="max").passages(QUERY, reading().items(LONG_TEXTS), scale_score=False)
    assert places_of(ranked)[-1] == 2
    for position, score, best in ranked:
        if position == 2:
            assert (score, best) == (BLANK_LOGIT, {"text": "", "start": 0, "end": 0, "windows": 0})
            continue
        assert score == pytest.approx(max(logits[position]), abs=AMONG_BATCHES)
        assert best["windows"] == len(spans[position])
        assert LONG_TEXTS[position][best["start"] : best["end"]] == best["text"]
        place = spans[position].index((best["start"], best["end"]))
        assert logits[position][place] == pytest.approx(score, abs=AMONG_BATCHES)
    assert {position for position, _, best in ranked if best["windows"] > 1} == {1, 3, 5}


def test_every_door_averages_the_best_three_windows(reading, best_windows):
    _, logits = best_windows
    ranked = reading(long_documents="mean").passages(QUERY, reading().items(LONG_TEXTS), scale_score=False)
    for position, score, best in ranked:
        if best["windows"]:
            top = sorted(logits[position], reverse=True)[:3]
            assert score == pytest.approx(sum(top) / len(top), abs=AMONG_BATCHES)


def test_every_door_reads_as_many_windows_as_allowed(reading, best_windows):
    _, logits = best_windows
    ranked = reading(long_documents="max", max_windows=2).passages(
        QUERY, reading().items(LONG_TEXTS), scale_score=False
    )
    for position, score, best in ranked:
        assert best["windows"] <= 2
        if best["windows"]:
            assert score == pytest.approx(max(logits[position][:2]), abs=AMONG_BATCHES)


def test_texts_that_fit_are_scored_alike_in_windows_and_without(reading):
    items = reading().items(SENTENCES)
    plain = reading().passages(QUERY, items)
    windowed = reading(long_documents="max").passages(QUERY, items)
    assert [best for _, _, best in plain] == [None] * len(SENTENCES)
    assert [entry[:2] for entry in windowed] == [entry[:2] for entry in plain]
    assert [best["text"] for _, _, best in windowed] == [SENTENCES[position] for position, _, _ in windowed]


def test_reading_in_windows_leaves_what_the_caller_gave_as_it_was(reading):
    items = reading().items(LONG_TEXTS)
    before = copy.deepcopy(items)
    reading(long_documents="max").passages(QUERY, items)
    assert items == before


def places_of(ranked):
    return [position for position, _, _ in ranked]
