"""The LangChain cross-encoder: one float per pair, equal to what sentence-transformers gives."""

import pytest
import torch
from langchain_core.cross_encoders import BaseCrossEncoder
from sentence_transformers import CrossEncoder as ReferenceCrossEncoder

from checkpoints import SENTENCES
from engines import FailsOn, LengthEngine
from fr_reranker_plugin import BatchingScorer, ScoringError, SettingsError
from fr_reranker_plugin.langchain import FrenchCrossEncoder
from fr_reranker_plugin.scoring.ranking import BLANK_LOGIT

PAIRS = [(query, passage) for query in SENTENCES[:2] for passage in SENTENCES]


@pytest.fixture
def cross_encoder(tiny_model, no_model_left):
    made = FrenchCrossEncoder(model=tiny_model)
    yield made
    made.close()


@pytest.fixture(params=["score", "ascore"])
def score(request):
    """Call the sync or the async method of a cross-encoder and give its result."""

    async def call(cross_encoder, pairs):
        answer = getattr(cross_encoder, request.param)(pairs)
        return answer if request.param == "score" else await answer

    return call


async def test_it_is_a_langchain_cross_encoder_that_gives_a_list_of_floats(score, cross_encoder):
    assert isinstance(cross_encoder, BaseCrossEncoder)
    scores = await score(cross_encoder, PAIRS)
    assert type(scores) is list
    assert [type(value) for value in scores] == [float] * len(PAIRS)


async def test_scores_equal_those_of_sentence_transformers(score, cross_encoder, tiny_model):
    reference = ReferenceCrossEncoder(tiny_model, device="cpu")
    scaled = reference.predict(PAIRS, activation_fn=torch.nn.Sigmoid(), show_progress_bar=False)
    assert await score(cross_encoder, PAIRS) == pytest.approx(scaled.tolist(), abs=1e-5)
    cross_encoder.scale_score = False
    raw = reference.predict(PAIRS, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    assert await score(cross_encoder, PAIRS) == pytest.approx(raw.tolist(), abs=1e-4)


async def test_no_pairs_give_no_scores_and_load_nothing(score):
    assert await score(FrenchCrossEncoder(model="no/such-model"), []) == []


async def test_a_passage_without_text_has_the_lowest_score(score, cross_encoder):
    pairs = [("q", "a"), ("q", ""), ("q", " \n")]
    scaled = await score(cross_encoder, pairs)
    assert scaled[1:] == [0.0, 0.0] < scaled[:1]
    cross_encoder.scale_score = False
    assert (await score(cross_encoder, pairs))[1:] == [BLANK_LOGIT, BLANK_LOGIT]


async def test_pairs_that_repeat_are_scored_once_each_query_for_itself(score):
    engine = LengthEngine()
    with BatchingScorer(engine) as scorer:
        pairs = [("q", "a"), ("r", "a"), ("q", "a"), ["q", "bb"]]
        assert await score(FrenchCrossEncoder(scorer=scorer, scale_score=False), pairs) == [1.0, 1.0, 1.0, 2.0]
    assert sum(map(len, engine.batches)) == 3


@pytest.mark.parametrize("pair", [("q",), ("q", "a", "b"), "qa", ("q", None), (1, "a"), None])
async def test_what_is_not_a_pair_of_texts_is_refused_with_its_position(score, pair):
    with pytest.raises(SettingsError, match="pair 1 must be a query and a passage"):
        await score(FrenchCrossEncoder(model="no/such-model"), [("q", "a"), pair])


async def test_a_failure_is_raised(score):
    with BatchingScorer(FailsOn("mauvais")) as scorer, pytest.raises(ScoringError, match="mauvais"):
        await score(FrenchCrossEncoder(scorer=scorer), [("q", "bon"), ("q", "mauvais")])
