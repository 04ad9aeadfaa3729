"""One calibration behind every door: the same probabilities, the order as it was, its file read when needed."""

import copy
import json
import logging
import pickle

import pytest
from haystack import Pipeline
from langchain_core.documents import Document as LangChainDocument
from pydantic import ValidationError

from adapters.haystack_documents import Document as HaystackDocument
from adapters.rerank_doors import DOORS
from checkpoints import SENTENCES
from engines import LengthEngine
from fr_reranker_plugin import BatchingScorer, Calibration, ModelSettings, SettingsError, make_pairs, shared_scorer
from fr_reranker_plugin.langchain import FrenchCrossEncoder, FrenchCrossEncoderReranker
from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker

QUERY = "Où déposer une plainte après un vol ?"
TEXTS = [*SENTENCES, ""]
CLASSES = [FrenchCrossEncoderRanker, FrenchCrossEncoderReranker, FrenchCrossEncoder]


@pytest.fixture(scope="module")
def warm_model(tiny_model):
    """The tiny model, held in memory for all doors of this file."""
    held = shared_scorer(ModelSettings(model=tiny_model))
    yield tiny_model
    held.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory, tiny_model):
    path = tmp_path_factory.mktemp("calibration") / "calibration.json"
    Calibration(temperature=2.5, bias=-0.75, model=tiny_model).save(path)
    return str(path)


@pytest.fixture(scope="module")
def expected(warm_model, file):
    """The probability of each text, from the library."""
    scorer = shared_scorer(ModelSettings(model=warm_model))
    logits = scorer.score(make_pairs(QUERY, SENTENCES))
    scorer.close()
    return dict(enumerate([*Calibration.load(file).probabilities(logits), 0.0]))


@pytest.fixture(params=DOORS)
def doors(request, warm_model, file):
    """A door without the calibration, and the same one with it."""
    return DOORS[request.param](warm_model), DOORS[request.param](warm_model, calibration=file)


@pytest.fixture(params=CLASSES, ids=lambda cls: cls.__name__)
def adapter(request):
    return request.param


def test_every_door_gives_the_probabilities_in_the_order_of_the_logits(doors, expected):
    plain, calibrated = (door.rerank(QUERY, TEXTS) for door in doors)
    assert [position for position, _ in calibrated] == [position for position, _ in plain]
    assert dict(calibrated) == pytest.approx(expected, abs=1e-5)
    assert dict(plain) != pytest.approx(expected, abs=1e-2)
    assert calibrated[-1] == (len(SENTENCES), 0.0)


def test_a_threshold_is_a_probability_behind_every_door(doors):
    _, door = doors
    ranked = door.rerank(QUERY, TEXTS)
    third = ranked[2][1]
    assert door.rerank(QUERY, TEXTS, score_threshold=third) == ranked[:3]
    assert door.rerank(QUERY, TEXTS, score_threshold=third, top_k=2) == ranked[:2]


def test_raw_scores_are_refused_behind_every_door_even_for_no_texts(doors):
    with pytest.raises(ValueError, match="raw logits were asked for; leave out one of the two"):
        doors[1].rerank(QUERY, [], scale_score=False)


async def test_the_langchain_cross_encoder_gives_the_probabilities(warm_model, file, expected):
    encoder = FrenchCrossEncoder(model=warm_model, calibration=file)
    pairs = make_pairs(QUERY, TEXTS)
    assert dict(enumerate(encoder.score(pairs))) == pytest.approx(expected, abs=1e-5)
    assert await encoder.ascore(pairs) == encoder.score(pairs)
    encoder.close()


def rank(made):
    if isinstance(made, FrenchCrossEncoderRanker):
        return made.run(QUERY, [HaystackDocument(content=text) for text in SENTENCES])
    if isinstance(made, FrenchCrossEncoderReranker):
        return made.compress_documents([LangChainDocument(text) for text in SENTENCES], QUERY)
    return made.score(make_pairs(QUERY, SENTENCES))


async def arank(made):
    if isinstance(made, FrenchCrossEncoderRanker):
        return await made.run_async(QUERY, [HaystackDocument(content=text) for text in SENTENCES])
    if isinstance(made, FrenchCrossEncoderReranker):
        return await made.acompress_documents([LangChainDocument(text) for text in SENTENCES], QUERY)
    return await made.ascore(make_pairs(QUERY, SENTENCES))


async def test_a_missing_file_is_no_matter_until_it_is_needed(adapter, tmp_path, loads):
    more = {} if adapter is FrenchCrossEncoder else {"raise_on_failure": False}
    made = adapter(model="no/such-model", calibration=tmp_path / "absent.json", **more)
    said = "there is no calibration file .*absent.json; make one with"
    with pytest.raises(SettingsError, match=said):
        made.warm_up()
    with pytest.raises(SettingsError, match=said):
        await (made.warm_up_async() if adapter is FrenchCrossEncoderRanker else made.awarm_up())
    with pytest.raises(SettingsError, match=said):
        rank(made)
    with pytest.raises(SettingsError, match=said):
        await arank(made)
    assert loads == []


async def test_warming_up_reads_the_file(adapter, warm_model, file, tmp_path):
    path = tmp_path / "soon-gone.json"
    Calibration.load(file).save(path)
    made, waiting = adapter(model=warm_model, calibration=path), adapter(model=warm_model, calibration=path)
    made.warm_up()
    await (waiting.warm_up_async() if adapter is FrenchCrossEncoderRanker else waiting.awarm_up())
    path.unlink()
    kept = adapter(model=warm_model, calibration=file)
    assert rank(made) == rank(kept)
    assert await arank(waiting) == rank(kept)
    for one in (made, waiting, kept):
        one.close()


def test_a_calibration_for_another_model_is_told_once(adapter, warm_model, tmp_path, caplog):
    Calibration(temperature=2.0, model="other/model").save(tmp_path / "c.json")
    made = adapter(model=warm_model, calibration=str(tmp_path / "c.json"))
    made.warm_up()
    rank(made)
    made.close()
    told = [record for record in caplog.records if "other/model" in record.getMessage()]
    assert [record.levelno for record in told] == [logging.WARNING]


def test_a_saved_haystack_pipeline_comes_back_with_its_calibration(warm_model, file):
    pipeline = Pipeline()
    pipeline.add_component("ranker", FrenchCrossEncoderRanker(model=warm_model, calibration=file, score_threshold=0.1))
    loaded = Pipeline.loads(pipeline.dumps())
    assert loaded == pipeline
    inputs = {"query": QUERY, "documents": [HaystackDocument(content=text) for text in SENTENCES]}
    assert loaded.run(inputs) == pipeline.run(inputs)
    for one in (loaded, pipeline):
        one.get_component("ranker").close()


@pytest.mark.parametrize("cls", [FrenchCrossEncoderReranker, FrenchCrossEncoder])
def test_what_langchain_dumps_comes_back_with_its_calibration(cls, file):
    made = cls(model="mine", calibration=file)
    assert cls.model_validate(json.loads(made.model_dump_json())) == made
    assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == made  # noqa: S301 -- our own bytes


@pytest.mark.parametrize("cls", [FrenchCrossEncoderReranker, FrenchCrossEncoder])
def test_langchain_refuses_raw_scores_with_a_calibration_and_changes_nothing(cls, file):
    with pytest.raises(ValidationError, match="raw logits were asked for"):
        cls(scale_score=False, calibration=file)
    calibrated, raw = cls(calibration=file), cls(scale_score=False)
    with pytest.raises(ValidationError, match="raw logits were asked for"):
        calibrated.scale_score = False
    with pytest.raises(ValidationError, match="raw logits were asked for"):
        raw.calibration = file
    assert (calibrated.calibration, calibrated.scale_score) == (file, True)
    assert (raw.calibration, raw.scale_score) == (None, False)


def test_a_call_of_the_haystack_ranker_cannot_ask_for_raw_scores(file):
    ranker = FrenchCrossEncoderRanker(model="no/such-model", calibration=file)
    with pytest.raises(SettingsError, match="raw logits were asked for"):
        ranker.run(QUERY, [], scale_score=False)


def test_changing_the_calibration_keeps_the_model_and_changes_the_scores(adapter, warm_model, file):
    made = adapter(model=warm_model)
    plain = rank(made)
    made.calibration = file
    calibrated = rank(made)
    assert calibrated != plain
    made.calibration = None
    assert rank(made) == plain
    made.close()


def test_a_scorer_of_the_callers_own_is_calibrated_too(file, caplog):
    with BatchingScorer(LengthEngine()) as scorer:
        made = FrenchCrossEncoder(scorer=scorer, calibration=file)
        assert made.score([("q", "abc")]) == [Calibration.load(file).probability(3.0)]
        made.warm_up()
    assert "was fitted for" not in caplog.text
