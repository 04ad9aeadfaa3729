"""A calibration changes what scores mean and never their order, and its file says what it is."""

import asyncio
import json
import logging
import math
import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin import Calibration, CalibrationReport, SettingsError, rank_by_score
from fr_reranker_plugin.scoring.kept_calibration import KeptCalibration
from fr_reranker_plugin.scoring.ranking import BLANK_LOGIT, TextForm, reported_score, sigmoid
from fr_reranker_plugin.scoring.ranking_task import RankingRules

REPORT = CalibrationReport(
    pairs=500, relevant=80, queries=25, folds=5, seed=7,
    ece_before=0.21, ece_after=0.03, brier_before=0.18, brier_after=0.1,
)  # fmt: skip
FITTED = Calibration(temperature=1.75, bias=-0.5, model="embedded", fingerprint="0a1b", report=REPORT)

logits = st.floats(min_value=-1e4, max_value=1e4)
positive = st.floats(min_value=0, max_value=1e300, exclude_min=True)
calibrations = st.builds(Calibration, temperature=positive, bias=st.floats(min_value=-1e300, max_value=1e300))


@given(st.lists(logits), calibrations)
def test_the_order_is_that_of_the_logits_and_scores_go_down_from_1_to_0(values, calibration):
    ranked = rank_by_score(values, calibration=calibration)
    assert [r.index for r in ranked] == [r.index for r in rank_by_score(values)]
    assert [r.logit for r in ranked] == sorted(values, reverse=True)
    scores = [r.score for r in ranked]
    assert all(0 <= score <= 1 for score in scores)
    assert scores == sorted(scores, reverse=True)


@given(logits)
def test_temperature_1_and_bias_0_change_nothing(logit):
    assert Calibration(temperature=1.0).probability(logit) == sigmoid(logit)


def test_a_score_is_the_sigmoid_of_the_logit_over_the_temperature_plus_the_bias():
    assert FITTED.probability(3.5) == pytest.approx(1 / (1 + math.exp(-1.5)))
    assert FITTED.probabilities([0.0, 3.5]) == [FITTED.probability(0.0), FITTED.probability(3.5)]
    assert rank_by_score([3.5], calibration=FITTED)[0].score == reported_score(3.5, calibration=FITTED)


@given(calibrations)
def test_a_passage_without_text_keeps_the_score_0(calibration):
    assert calibration.probabilities([BLANK_LOGIT, -math.inf]) == [0.0, 0.0]
    assert rank_by_score([BLANK_LOGIT, -9.0], calibration=calibration)[-1].score == 0.0


def test_the_threshold_is_a_probability():
    values = [0.875, 3.5]  # probabilities 0.5 and 0.82, sigmoids 0.71 and 0.97
    assert [r.index for r in rank_by_score(values, calibration=FITTED, score_threshold=0.6)] == [1]
    assert [r.index for r in rank_by_score(values, calibration=FITTED, score_threshold=0.5)] == [1, 0]


def test_a_calibration_for_raw_logits_is_refused():
    with pytest.raises(SettingsError, match="raw logits were asked for; leave out one"):
        rank_by_score([], scale_score=False, calibration=FITTED)
    with pytest.raises(SettingsError, match="raw logits were asked for"):
        RankingRules(
            form=TextForm(), fields=(), deduplicate=False, top_k=None, score_threshold=None,
            scale_score=False, calibration=FITTED,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"temperature": 0}, "temperature must be > 0, or the order would change"),
        ({"temperature": -1.0}, "temperature must be > 0"),
        ({"temperature": math.inf}, "temperature must be a finite number"),
        ({"temperature": math.nan}, "temperature must be a finite number"),
        ({"temperature": True}, "temperature must be a number"),
        ({"temperature": "1"}, "temperature must be a number, got '1'"),
        ({"temperature": 1, "bias": math.nan}, "bias must be a finite number"),
        ({"temperature": 1, "bias": 10**400}, "bias must be a finite number"),
        ({"temperature": 1, "bias": None}, "bias must be a number"),
        ({"temperature": 1, "model": 3}, "model must be a string or None"),
        ({"temperature": 1, "fingerprint": b"a"}, "fingerprint must be a string or None"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused(values, said):
    with pytest.raises(SettingsError, match=said):
        Calibration(**values)


@pytest.mark.parametrize(
    "wrong", [{"pairs": 0}, {"seed": -1}, {"queries": 2.5}, {"ece_after": 1.5}, {"brier_after": "x"}]
)
def test_a_report_of_impossible_figures_is_refused(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        replace(REPORT, **wrong)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("calibrations")


@given(calibration=calibrations, model=st.none() | st.text(st.characters()), report=st.sampled_from([None, REPORT]))
def test_what_is_saved_is_what_is_loaded(folder, calibration, model, report):
    saved = replace(calibration, model=model, report=report)
    saved.save(folder / "calibration.json")
    assert Calibration.load(str(folder / "calibration.json")) == saved
    assert [path.name for path in folder.iterdir()] == ["calibration.json"]


def test_the_file_is_small_json_that_a_person_can_read(tmp_path):
    FITTED.save(tmp_path / "c.json")
    content = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert content["format"] == 1
    assert content["report"]["ece_after"] == 0.03
    assert (tmp_path / "c.json").stat().st_size < 1000


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    with pytest.raises(SettingsError, match="cannot be written to .*absent"):
        FITTED.save(tmp_path / "absent" / "c.json")
    (tmp_path / "taken").mkdir()
    with pytest.raises(SettingsError, match="cannot be written to"):
        FITTED.save(tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def content(**changes):
    return json.dumps({**FITTED.to_dict(), **changes}).encode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "expected a calibration file .JSON."),
        (b"{", "expected a calibration file .JSON."),
        (b"\xff\xfe\x00", "expected a calibration file .JSON."),
        (b"[" * 100_000, "expected a calibration file .JSON."),
        (b"[1, 2]", "expected a file with the kind_of_file 'fr-reranker calibration', found .1, 2."),
        (b'{"temperature": 1.5, "bias": 0}', "'fr-reranker calibration', found None"),
        (content(kind_of_file="fr-reranker dense index"), "found 'fr-reranker dense index'"),
        (content(format=2), "expected the format 1, found 2; update fr-reranker-plugin"),
        (content(temperature=-2), "temperature must be > 0"),
        (content(temperature=None), "temperature must be a number"),
        (content(bias=math.nan), "bias must be a finite number"),
        (content(more=1), r"expected the fields \[.*\], found \[.*'more'"),
        (content(report=[1]), "found list"),
        (content(report={"pairs": 3}), r"found \['pairs'\]"),
        (content(report={**FITTED.to_dict()["report"], "pairs": "3"}), "pairs must be a whole number"),
    ],
)
def test_a_malformed_or_foreign_file_is_refused_with_its_path_and_what_to_do(tmp_path, text, said):
    path = tmp_path / "broken.json"
    path.write_bytes(text)
    with pytest.raises(SettingsError, match=said) as refused:
        Calibration.load(path)
    assert str(path) in str(refused.value)
    assert "make one with `fr-reranker calibrate`" in str(refused.value)


def test_a_file_that_is_not_there_is_named_with_what_to_do(tmp_path):
    with pytest.raises(SettingsError, match="there is no calibration file .*absent.json; make one with"):
        Calibration.load(tmp_path / "absent.json")
    with pytest.raises(SettingsError, match="cannot be read"):
        Calibration.load(tmp_path)


def read(kept, path, model, *, asynchronous):
    return asyncio.run(kept.aread(path, model=model)) if asynchronous else kept.read(path, model=model)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_door_reads_its_file_once_and_again_when_it_names_another(tmp_path, asynchronous):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    kept = KeptCalibration()
    with pytest.raises(SettingsError, match="there is no calibration file"):
        read(kept, str(first), "embedded", asynchronous=asynchronous)
    FITTED.save(first)
    assert read(kept, str(first), "embedded", asynchronous=asynchronous) == FITTED
    first.unlink()
    assert read(kept, str(first), "embedded", asynchronous=asynchronous) == FITTED
    Calibration(temperature=3.0).save(second)
    assert read(kept, str(second), "embedded", asynchronous=asynchronous).temperature == 3.0
    assert read(kept, None, "embedded", asynchronous=asynchronous) is None
    assert pickle.loads(pickle.dumps(kept)) == kept  # noqa: S301 -- our own bytes


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_calibration_for_another_model_is_used_with_one_warning(tmp_path, caplog, asynchronous):
    FITTED.save(tmp_path / "c.json")
    kept = KeptCalibration()
    for _ in range(3):
        assert read(kept, str(tmp_path / "c.json"), "other/model", asynchronous=asynchronous) == FITTED
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "was fitted for the model 'embedded', and 'other/model' is in use" in record.message


@pytest.mark.parametrize(
    ("fitted_for", "in_use"), [(None, "m"), ("m", None), ("m/x", "m/x"), ("./m", "m"), ("/a/m/", "/a/m")]
)
def test_the_same_or_an_unknown_model_is_no_news(tmp_path, caplog, fitted_for, in_use):
    replace(FITTED, model=fitted_for).save(tmp_path / "c.json")
    assert KeptCalibration().read(str(tmp_path / "c.json"), model=in_use) is not None
    assert caplog.records == []
