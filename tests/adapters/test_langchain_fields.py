"""The fields of the LangChain classes: which values they take, and what of them may be seen."""

import copy
import json
import pickle
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from fr_reranker_plugin import ModelSettings
from fr_reranker_plugin.langchain import FrenchCrossEncoder, FrenchCrossEncoderReranker
from fr_reranker_plugin.scoring.settings import REFERENCE_MODEL

CLASSES = [FrenchCrossEncoderReranker, FrenchCrossEncoder]
TOKEN_VARIABLES = ["HF_TOKEN", "HUGGINGFACEHUB_API_TOKEN", "HF_API_TOKEN"]
SECRET = "hf_do_not_show_this"


@pytest.fixture(autouse=True)
def no_token_in_the_environment(monkeypatch):
    for name in TOKEN_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=CLASSES, ids=lambda cls: cls.__name__)
def adapter(request):
    return request.param


def test_the_model_is_the_reference_model_unless_another_is_named(adapter):
    assert adapter().model_name == REFERENCE_MODEL


@pytest.mark.parametrize("name", ["model", "model_name"])
@pytest.mark.parametrize("value", ["models/mine", Path("models/mine")], ids=["text", "path"])
def test_model_and_model_name_both_name_the_model(adapter, name, value):
    assert adapter(**{name: value}).model_name == "models/mine"


def test_the_model_is_named_once(adapter):
    with pytest.raises(ValidationError, match="model_name"):
        adapter(model="one", model_name="other")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("model", " ", "must be a Hub id, a folder or 'embedded'"),
        ("dtype", "int3", "'float16'"),
        ("backend", "tensorflow", "'torch'"),
        ("max_length", 3, ">= 16"),
        ("max_length", 128.0, "valid integer"),
        ("batch_size", 0, "greater than 0"),
        ("max_batch_tokens", -1, "greater than 0"),
        ("timeout", 0, "greater than 0"),
        ("long_documents", "maxp", "'truncate', 'max' or 'mean'"),
        ("window_overlap", -1, "greater than or equal to 0"),
        ("window_overlap", 1.0, "valid integer"),
        ("max_windows", 0, "greater than 0"),
        ("max_windows", True, "valid integer"),
        ("priority", "urgent", "'interactive' or 'bulk'"),
        ("calibration", 3, "valid string"),
        ("timeout", float("nan"), "greater than 0"),
        ("trust_remote_code", True, "must be False"),
        ("scorer", "not a scorer", "instance of Scorer"),
        ("model_kwargs", {}, "not permitted"),
        ("top_k", 3, "not permitted"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_with_the_reason(adapter, field, value, said):
    with pytest.raises(ValidationError, match=said):
        adapter(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("top_n", value) for value in (0, -1, True, 1.5, 2.0, "3")],
        *[("score_threshold", value) for value in (float("nan"), True, "0.5")],
        ("relevance_score_key", ""),
        ("metadata_fields", "title"),
    ],
)
def test_the_reranker_refuses_rules_that_cannot_be_followed(field, value):
    with pytest.raises(ValidationError, match=field):
        FrenchCrossEncoderReranker(**{field: value})


@pytest.mark.parametrize("threshold", [0, 0.5, float("-inf"), None])
def test_a_threshold_is_any_number_that_can_be_compared(threshold):
    assert FrenchCrossEncoderReranker(score_threshold=threshold).score_threshold == threshold


def test_top_n_is_three_and_none_keeps_all():
    assert FrenchCrossEncoderReranker().top_n == 3
    assert FrenchCrossEncoderReranker(top_n=None).top_n is None


def test_a_refused_assignment_changes_nothing():
    reranker = FrenchCrossEncoderReranker(top_n=2)
    with pytest.raises(ValidationError):
        reranker.top_n = 0
    assert reranker.top_n == 2


@pytest.mark.parametrize("variable", TOKEN_VARIABLES)
def test_the_token_comes_from_the_environment(adapter, monkeypatch, variable):
    monkeypatch.setenv(variable, SECRET)
    assert adapter().token == SecretStr(SECRET)


def test_the_token_is_neither_shown_nor_dumped(adapter):
    holder = adapter(token=SECRET)
    shown = [repr(holder), str(holder), str(holder.model_dump()), holder.model_dump_json()]
    assert not any(SECRET in text for text in shown)
    with pytest.raises(ValidationError) as refused:
        adapter(token=SECRET, top_n=0, max_length=1)
    assert SECRET not in str(refused.value)


def test_the_token_reaches_the_model_settings_and_an_empty_one_is_none(adapter):
    assert adapter(token=SECRET)._model_settings().token == SECRET
    assert adapter(token="")._model_settings().token is None


def test_every_model_field_reaches_the_scorer(adapter):
    fields = {
        "revision": "v1", "device": "cpu", "dtype": "bfloat16", "backend": "torch", "max_length": 128,
        "local_files_only": True, "cache_folder": "hub",
    }  # fmt: skip
    made = adapter(model="mine", batch_size=4, max_batch_tokens=512, **fields)
    assert made._model_settings() == ModelSettings(model="mine", **fields)
    assert (made._batch_settings().max_batch_size, made._batch_settings().max_batch_tokens) == (4, 512)


def test_several_devices_share_one_queue(adapter):
    made = adapter(model="mine", device=["cuda:0", "cuda:1"])
    assert made._model_settings().devices == ("cuda:0", "cuda:1")
    assert adapter.model_validate(json.loads(made.model_dump_json())).device == ["cuda:0", "cuda:1"]


def test_what_is_dumped_as_json_makes_the_same_object_again(adapter):
    first = adapter(model="mine", device="cuda:1", dtype="float16", max_length=256, timeout=2.5, scale_score=False)
    dumped = json.loads(json.dumps(first.model_dump(mode="json")))
    assert "token" not in dumped
    assert adapter.model_validate(dumped) == first
    assert adapter.model_validate(json.loads(first.model_dump_json(by_alias=True))) == first
    assert dumped["device"] == "cuda:1"


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])  # noqa: S301
def test_a_cold_object_is_copied_and_pickled_with_all_its_fields(adapter, duplicate):
    first = adapter(model="mine", token=SECRET, max_length=64)
    assert duplicate(first) == first


def test_a_copy_may_change_fields(adapter):
    assert adapter(model="mine").model_copy(update={"model_name": "other"})._model_settings().model == "other"


def test_there_is_a_json_schema_that_names_the_model(adapter):
    properties = adapter.model_json_schema()["properties"]
    assert "model" in properties
    assert "scorer" not in properties
