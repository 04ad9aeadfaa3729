import logging
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from haystack import Pipeline
from haystack.utils import ComponentDevice, Device, DeviceMap, Secret

from adapters.haystack_documents import QUESTION, french_documents, scores_by_id
from fr_reranker_plugin import ModelLoadError, SettingsError
from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker

SECRET = "hf_very_secret_value"

REFUSED = [
    ({"top_k": 0}, "top_k must be >= 1"),
    ({"top_k": -3}, "top_k must be >= 1"),
    ({"top_k": True}, "top_k must be a whole number"),
    ({"top_k": 2.0}, "top_k must be a whole number"),
    ({"score_threshold": float("nan")}, "score_threshold"),
    ({"score_threshold": "0.5"}, "score_threshold"),
    ({"scale_score": "yes"}, "scale_score must be True or False"),
    ({"deduplicate": None}, "deduplicate must be True or False"),
    ({"raise_on_failure": 1}, "raise_on_failure must be True or False"),
    ({"return_embedding": 0}, "return_embedding must be True or False"),
    ({"local_files_only": "no"}, "local_files_only must be True or False"),
    ({"model": None}, "model must be a Hub id"),
    ({"model": " "}, "model must be a Hub id"),
    ({"query_prefix": None}, "query_prefix must be a string"),
    ({"embedding_separator": 3}, "embedding_separator must be a string"),
    ({"meta_fields_to_embed": "title"}, "meta_fields_to_embed must be a list"),
    ({"meta_fields_to_embed": [1]}, "meta_fields_to_embed must be a list"),
    ({"score_meta_field": 1}, "score_meta_field must be a string or None"),
    ({"revision": 12}, "revision must be a string or None"),
    ({"timeout": 0}, "timeout must be a number of seconds > 0"),
    ({"timeout": float("nan")}, "timeout must be a number of seconds > 0"),
    ({"max_length": 4}, "max_length must be >= 16"),
    ({"batch_size": 0}, "max_batch_size must be >= 1"),
    ({"max_batch_tokens": 0}, "max_batch_tokens must be >= 1"),
    ({"dtype": "int3"}, "dtype must be one of"),
    ({"long_documents": "maxp"}, "long_documents must be 'truncate', 'max' or 'mean'"),
    ({"long_documents": None}, "long_documents must be 'truncate', 'max' or 'mean'"),
    ({"window_overlap": -1}, "window_overlap must be >= 0"),
    ({"window_overlap": 1.5, "long_documents": "max"}, "window_overlap must be a whole number"),
    ({"max_windows": 0}, "max_windows must be >= 1"),
    ({"priority": "urgent"}, "priority must be 'interactive' or 'bulk'"),
    ({"calibration": 3}, "calibration must be a string or None"),
    ({"calibration": "c.json", "scale_score": False}, "raw logits were asked for; leave out one of the two"),
    ({"backend": "openvino"}, "backend must be one of 'auto', 'torch', 'onnx'"),
    ({"device": "gpu"}, "device must be one device like 'cuda:0'"),
    ({"device": 0}, "device must be a ComponentDevice, a string, a list of such or None, got int"),
    ({"device": ComponentDevice.from_multiple(DeviceMap({"layer": Device.cpu()}))}, "device must be one device"),
    ({"trust_remote_code": True}, "never run"),
    ({"config_kwargs": {"num_labels": 1}}, "config_kwargs must be None or empty"),
    ({"model_kwargs": {"device_map": "auto"}}, r"model_kwargs\['device_map'\].*use the parameter device"),
    ({"model_kwargs": {"attn_implementation": "eager"}}, r"model_kwargs\['attn_implementation'\].*remove it"),
    ({"model_kwargs": "float16"}, "model_kwargs must be a dictionary"),
    ({"model_kwargs": {"dtype": "float16"}, "dtype": "bfloat16"}, "disagree"),
    ({"model_kwargs": {"dtype": "int4"}}, "dtype must be one of"),
    ({"tokenizer_kwargs": {"max_length": 64}}, r"tokenizer_kwargs\['max_length'\].*use the parameter max_length"),
    ({"tokenizer_kwargs": {"model_max_length": 64}, "max_length": 32}, "disagree"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=lambda value: str(value)[:60])
def test_a_value_that_is_not_allowed_is_refused_at_construction(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        FrenchCrossEncoderRanker(**given)


def test_a_dtype_may_be_given_the_way_transformers_takes_it() -> None:
    assert FrenchCrossEncoderRanker(model_kwargs={"torch_dtype": "bfloat16"}).model_settings().dtype == "bfloat16"
    assert FrenchCrossEncoderRanker(model_kwargs={"dtype": "auto"}, dtype="float32").model_settings().dtype == "float32"
    assert FrenchCrossEncoderRanker(model_kwargs={}).model_settings().dtype == "auto"


def test_onnx_runtime_may_run_the_model(tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("FR_RERANKER_CACHE", str(tmp_path))
    scores = []
    for backend in ("torch", "onnx"):
        ranker = FrenchCrossEncoderRanker(model=tiny_model, backend=backend, device="cpu")
        scores.append(scores_by_id(ranker.run(QUESTION, french_documents())["documents"]))
        ranker.close()
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)
    assert list(tmp_path.rglob("model.onnx"))


def test_several_devices_share_one_queue() -> None:
    ranker = FrenchCrossEncoderRanker(device=["cuda:0", "cuda:1"])
    assert ranker.model_settings().devices == ("cuda:0", "cuda:1")
    again = FrenchCrossEncoderRanker.from_dict(ranker.to_dict())
    assert again.device == ["cuda:0", "cuda:1"]


def test_a_device_may_be_given_as_a_string() -> None:
    assert FrenchCrossEncoderRanker(device="cuda:1").device == ComponentDevice.from_str("cuda:1")


@pytest.mark.parametrize("token", [SECRET, True])
def test_a_token_that_is_not_a_secret_is_refused_without_showing_it(token: object) -> None:
    with pytest.raises(TypeError, match="token must be a Secret") as caught:
        FrenchCrossEncoderRanker(token=token)
    assert SECRET not in str(caught.value)


def test_a_token_that_would_be_saved_readably_is_not_saved() -> None:
    pipeline = Pipeline()
    pipeline.add_component("ranker", FrenchCrossEncoderRanker(token=Secret.from_token(SECRET)))
    with pytest.raises(ValueError, match="token") as caught:
        pipeline.dumps()
    assert SECRET not in str(caught.value)


def test_a_token_shows_in_no_text_log_error_or_pickle(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tiny_model: str
) -> None:
    monkeypatch.setenv("FRENCH_TOKEN", SECRET)
    caplog.set_level(logging.DEBUG)
    token = Secret.from_env_var("FRENCH_TOKEN")
    ranker = FrenchCrossEncoderRanker(model=tiny_model, token=token)
    ranker.run(QUESTION, french_documents())
    missing = FrenchCrossEncoderRanker(model="/no/such/folder", token=token)
    with pytest.raises(ModelLoadError) as caught:
        missing.warm_up()
    shown = [repr(ranker), str(ranker.to_dict()), repr(caught.value), caplog.text, str(pickle.dumps(ranker))]
    assert not any(SECRET in text for text in shown)
    ranker.close()


def test_a_missing_token_is_reported_at_warm_up_and_not_before(
    monkeypatch: pytest.MonkeyPatch, tiny_model: str
) -> None:
    monkeypatch.delenv("FRENCH_TOKEN", raising=False)
    ranker = FrenchCrossEncoderRanker(model=tiny_model, token=Secret.from_env_var("FRENCH_TOKEN"))
    with pytest.raises(ValueError, match="FRENCH_TOKEN"):
        ranker.warm_up()


def test_only_names_that_everybody_knows_go_into_usage_statistics(tiny_model: str) -> None:
    assert FrenchCrossEncoderRanker()._get_telemetry_data() == {"model": "antoinelouis/crossencoder-me5-base-mmarcoFR"}
    assert FrenchCrossEncoderRanker(model="embedded")._get_telemetry_data() == {"model": "embedded"}
    assert FrenchCrossEncoderRanker(model=tiny_model)._get_telemetry_data() == {"model": "custom"}


def test_without_haystack_the_adapter_names_what_to_install() -> None:
    program = (
        "import sys\n"
        "sys.modules['haystack'] = None\n"
        "from fr_reranker_plugin import MissingDependencyError\n"
        "try:\n"
        "    import fr_reranker_plugin.haystack\n"
        "except MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'fr-reranker-plugin[haystack]'" in done.stdout


def test_the_package_gives_the_class_under_its_own_name() -> None:
    from fr_reranker_plugin import haystack

    assert haystack.FrenchCrossEncoderRanker is FrenchCrossEncoderRanker
