import copy
import inspect
import json
import os
import pickle
import subprocess
import sys

import pytest
import torch
from haystack import Pipeline
from haystack.utils import ComponentDevice, Secret
from haystack_integrations.components.rankers.sentence_transformers import SentenceTransformersSimilarityRanker

from adapters.haystack_documents import QUESTION, french_documents
from fr_reranker_plugin import live_scorers
from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker

OTHER_THAN_DEFAULT = {
    "model": "embedded",
    "device": ComponentDevice.from_str("cuda:1"),
    "token": Secret.from_env_var("MY_TOKEN", strict=False),
    "top_k": None,
    "query_prefix": "question : ",
    "query_suffix": " ?",
    "document_prefix": "passage : ",
    "document_suffix": ".",
    "meta_fields_to_embed": ["title", "year"],
    "embedding_separator": " | ",
    "scale_score": True,  # the default, but raw logits have no calibration; see the test of raw scores
    "score_threshold": 0.25,
    "trust_remote_code": False,
    "model_kwargs": {"torch_dtype": "torch.float16"},
    "tokenizer_kwargs": {"model_max_length": 128},
    "config_kwargs": {},
    "backend": "auto",
    "batch_size": 16,
    "revision": "abc123",
    "local_files_only": True,
    "max_length": 128,
    "dtype": "float16",
    "max_batch_tokens": 1024,
    "deduplicate": False,
    "raise_on_failure": False,
    "timeout": 2.5,
    "score_meta_field": "retriever_score",
    "return_embedding": False,
    "cache_folder": "/tmp/hub",  # noqa: S108 -- never opened
    "long_documents": "mean",
    "window_overlap": 0,
    "max_windows": 8,
    "priority": "bulk",
    "calibration": "calibration.json",
    "remote_url": None,  # not with the lengths above; see the test of a server
    "remote_api_key": Secret.from_env_var("MY_KEY", strict=False),
    "remote_dialect": "tei",
}


def saved_pipeline() -> str:
    pipeline = Pipeline()
    pipeline.add_component("ranker", FrenchCrossEncoderRanker(**OTHER_THAN_DEFAULT))
    return pipeline.dumps()


def test_every_init_parameter_is_saved_and_comes_back() -> None:
    names = [*inspect.signature(FrenchCrossEncoderRanker.__init__).parameters][1:]
    assert sorted(OTHER_THAN_DEFAULT) == sorted(names)
    saved = FrenchCrossEncoderRanker(**OTHER_THAN_DEFAULT).to_dict()
    assert list(saved["init_parameters"]) == names
    loaded = FrenchCrossEncoderRanker.from_dict(saved)
    assert {name: getattr(loaded, name) for name in names} == OTHER_THAN_DEFAULT


def test_raw_scores_are_saved_and_come_back() -> None:
    saved = FrenchCrossEncoderRanker(scale_score=False, score_threshold=-1.5).to_dict()
    loaded = FrenchCrossEncoderRanker.from_dict(saved)
    assert (loaded.scale_score, loaded.score_threshold, loaded.calibration) == (False, -1.5, None)


def test_a_saved_pipeline_loads_in_a_process_that_has_imported_haystack_only() -> None:
    program = (
        "import sys\n"
        "from haystack import Pipeline\n"
        "saved = sys.stdin.read()\n"
        "assert 'haystack_integrations.components.rankers.fr_reranker' not in sys.modules\n"
        "pipeline = Pipeline.loads(saved)\n"
        "assert Pipeline.loads(pipeline.dumps()) == pipeline\n"
        "sys.stdout.write(pipeline.dumps())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=saved_pipeline(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env={**os.environ, "HAYSTACK_TELEMETRY_ENABLED": "False"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == saved_pipeline()


def test_a_loaded_pipeline_equals_the_one_that_was_saved() -> None:
    pipeline = Pipeline()
    pipeline.add_component("ranker", FrenchCrossEncoderRanker(**OTHER_THAN_DEFAULT))
    assert Pipeline.loads(pipeline.dumps()) == pipeline


def test_saving_twice_leaves_a_half_precision_ranker_able_to_load(tiny_model: str) -> None:
    options = {"dtype": torch.bfloat16}
    ranker = FrenchCrossEncoderRanker(model=tiny_model, device="cpu", model_kwargs=options)
    assert ranker.to_dict() == ranker.to_dict()
    assert ranker.to_dict()["init_parameters"]["model_kwargs"] == {"dtype": "torch.bfloat16"}
    assert options == {"dtype": torch.bfloat16}
    assert ranker.model_kwargs is options
    ranker.warm_up()
    ranker.close()


def test_neither_saving_nor_loading_changes_what_it_is_given() -> None:
    ranker = FrenchCrossEncoderRanker(**OTHER_THAN_DEFAULT)
    saved = ranker.to_dict()
    before = copy.deepcopy(saved)
    FrenchCrossEncoderRanker.from_dict(saved)
    assert saved == before
    saved["init_parameters"]["meta_fields_to_embed"].append("other")
    saved["init_parameters"]["model_kwargs"]["dtype"] = "float32"
    assert ranker.to_dict() == before


def test_what_is_saved_is_json() -> None:
    saved = FrenchCrossEncoderRanker(**OTHER_THAN_DEFAULT).to_dict()
    assert json.loads(json.dumps(saved)) == saved


def test_no_device_stays_no_device(tiny_model: str) -> None:
    ranker = FrenchCrossEncoderRanker(model=tiny_model)
    ranker.warm_up()
    assert ranker.to_dict()["init_parameters"]["device"] is None
    ranker.close()


def test_yaml_of_the_sentence_transformers_ranker_loads_with_only_its_type_changed() -> None:
    theirs = SentenceTransformersSimilarityRanker(
        model="embedded",
        device=ComponentDevice.from_str("cpu"),
        top_k=3,
        meta_fields_to_embed=["title"],
        model_kwargs={"dtype": torch.float32},
        tokenizer_kwargs={"model_max_length": 256},
    )
    pipeline = Pipeline()
    pipeline.add_component("ranker", theirs)
    ours = f"{FrenchCrossEncoderRanker.__module__}.{FrenchCrossEncoderRanker.__name__}"
    saved = pipeline.dumps().replace(f"{type(theirs).__module__}.{type(theirs).__name__}", ours)
    loaded = Pipeline.loads(saved).get_component("ranker")
    assert isinstance(loaded, FrenchCrossEncoderRanker)
    assert loaded.model_settings().dtype == "float32"
    assert loaded.model_settings().device == "cpu"
    assert loaded.model_settings().max_length == 256
    assert loaded.batch_settings().max_batch_size == 16
    assert loaded.top_k == 3


def test_the_parameters_of_the_sentence_transformers_ranker_come_first_and_in_its_order() -> None:
    theirs = [*inspect.signature(SentenceTransformersSimilarityRanker.__init__).parameters.values()]
    ours = [*inspect.signature(FrenchCrossEncoderRanker.__init__).parameters.values()][: len(theirs)]
    assert [parameter.name for parameter in ours] == [parameter.name for parameter in theirs]
    different = {own.name for own, their in zip(ours, theirs, strict=True) if own.default != their.default}
    assert different == {"model", "batch_size"}


def test_a_copy_of_a_ranker_shares_the_loaded_model(tiny_model: str, no_model_left: None) -> None:
    before = live_scorers()
    cold = FrenchCrossEncoderRanker(model=tiny_model, max_length=40)
    warm = copy.deepcopy(cold)
    warm.warm_up()
    again = copy.deepcopy(warm)
    again.warm_up()
    assert live_scorers() == before + 1
    for ranker in (warm, again):
        ranker.close()


@pytest.mark.parametrize("state", ["cold", "warm"])
def test_a_pickled_ranker_ranks_like_the_original(tiny_model: str, state: str) -> None:
    ranker = FrenchCrossEncoderRanker(model=tiny_model)
    if state == "warm":
        ranker.warm_up()
    copied = pickle.loads(pickle.dumps(ranker))  # noqa: S301 -- our own bytes
    assert copied.run(QUESTION, french_documents()) == ranker.run(QUESTION, french_documents())
    ranker.close()
    copied.close()
