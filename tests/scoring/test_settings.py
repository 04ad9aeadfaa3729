import pytest
import torch

from fr_reranker_plugin import BatchSettings, ModelSettings, SettingsError
from fr_reranker_plugin.scoring.loading import resolve_settings
from fr_reranker_plugin.scoring.settings import REFERENCE_MODEL, REFERENCE_REVISION


def test_the_reference_model_is_pinned_and_others_are_not():
    assert ModelSettings().pinned_revision == REFERENCE_REVISION
    assert ModelSettings(revision="main").pinned_revision == "main"
    assert ModelSettings(model="autre/modele").pinned_revision is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", ""),
        ("model", None),
        ("dtype", "half"),
        ("backend", "tensorrt"),
        ("max_length", 0),
        ("max_length", 15),
        ("max_length", True),
        ("max_length", 512.0),
    ],
)
def test_a_model_setting_that_is_not_allowed_is_named_with_its_value(name, value):
    with pytest.raises(SettingsError, match=name) as caught:
        ModelSettings(**{name: value})
    assert repr(value) in str(caught.value) or str(value) in str(caught.value)


@pytest.mark.parametrize("name", ["max_batch_tokens", "max_batch_size", "max_slice_pairs", "max_waiting_pairs"])
@pytest.mark.parametrize("value", [0, -5, True, 1.5, "8"])
def test_a_batch_setting_that_is_not_a_positive_whole_number_is_refused(name, value):
    with pytest.raises(SettingsError, match=name):
        BatchSettings(**{name: value})


def test_an_unknown_setting_fails_at_the_call():
    with pytest.raises(TypeError, match="modle"):
        ModelSettings(modle=REFERENCE_MODEL)


def test_the_token_is_never_shown_and_makes_no_second_model():
    settings = ModelSettings(token="hf_secret")
    assert "hf_secret" not in repr(settings)
    assert settings == ModelSettings()
    assert hash(settings) == hash(ModelSettings())


def test_devices_may_be_a_list_which_is_kept_as_a_tuple_so_that_settings_stay_comparable():
    assert ModelSettings(device=["cuda:0", "cuda:1"]) == ModelSettings(device=("cuda:0", "cuda:1"))
    assert ModelSettings(device=["cuda:0", "cuda:1"]).devices == ("cuda:0", "cuda:1")
    assert ModelSettings(device=["cpu"]) == ModelSettings(device="cpu")
    assert ModelSettings().devices == (None,)
    assert hash(ModelSettings(device=["cuda:0", "cuda:1"]))


@pytest.mark.parametrize("device", [[], [None], ["cpu", 1], 0, {"cpu"}])
def test_a_list_of_devices_that_is_not_one_of_names_is_refused(device):
    with pytest.raises(SettingsError, match="device must be a name"):
        ModelSettings(device=device)


def test_devices_of_different_kinds_are_refused_as_scores_would_differ(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SettingsError, match="of one kind"):
        resolve_settings(ModelSettings(device=["cpu", "cuda:0"]))


def test_the_token_budget_of_a_list_of_devices_is_that_of_its_first():
    assert BatchSettings().for_device(["cuda:0", "cuda:1"]) == BatchSettings().for_device("cuda")
