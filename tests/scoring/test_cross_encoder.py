import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, GPT2Config

from checkpoints import FAMILIES, build_cross_encoder
from fr_reranker_plugin import CrossEncoder, ModelLoadError, ModelSettings, SettingsError
from fr_reranker_plugin.scoring.loading import resolve_settings
from fr_reranker_plugin.scoring.settings import REFERENCE_REVISION


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_of_each_family_gives_one_finite_logit_per_pair(checkpoint_of, family):
    engine = CrossEncoder.load(ModelSettings(model=str(checkpoint_of(family)), device="cpu"))
    pairs = [("Où voter ?", "À la mairie."), ("Où voter ?", "Le train part à midi. " * 30), ("", "")]
    logits = engine.launch(engine.encode(pairs))()
    assert len(logits) == 3
    assert all(isinstance(logit, float) for logit in logits)
    assert len(set(logits)) == 3


def test_a_logit_does_not_depend_on_the_neighbours_in_the_batch(tiny_model):
    engine = CrossEncoder.load(ModelSettings(model=tiny_model, device="cpu"))
    encoded = engine.encode([("Où voter ?", "À la mairie. " * n) for n in (1, 40, 3, 150, 9)])
    alone = [engine.launch([pair])()[0] for pair in encoded]
    assert engine.launch(encoded)() == pytest.approx(alone, abs=1e-4)


def test_an_activation_stored_in_the_configuration_is_not_applied(tiny_model, copied_model):
    change_config(
        copied_model,
        sentence_transformers={"activation_fn": "torch.nn.modules.activation.Sigmoid"},
        sbert_ce_default_activation_function="torch.nn.modules.activation.Sigmoid",
    )
    plain, configured = (
        CrossEncoder.load(ModelSettings(model=str(folder), device="cpu")) for folder in (tiny_model, copied_model)
    )
    pairs = [("Où voter ?", "À la mairie.")]
    assert configured.launch(configured.encode(pairs))() == plain.launch(plain.encode(pairs))()


def test_a_classifier_with_several_labels_is_refused_with_the_number(tmp_path):
    build_cross_encoder(tmp_path, "bert", num_labels=2)
    with pytest.raises(ModelLoadError, match="found 2 labels.*num_labels=1"):
        CrossEncoder.load(ModelSettings(model=str(tmp_path)))


def test_a_bi_encoder_is_refused_because_it_has_no_relevance_head(tmp_path):
    BertModel(BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=1)).save_pretrained(
        tmp_path
    )
    with pytest.raises(ModelLoadError, match="BertModel, which has no relevance head"):
        CrossEncoder.load(ModelSettings(model=str(tmp_path)))


def test_a_model_of_another_family_is_refused_with_the_families_we_read(copied_model):
    GPT2Config(architectures=["GPT2ForSequenceClassification"], num_labels=1).save_pretrained(copied_model)
    with pytest.raises(ModelLoadError, match="xlm-roberta, bert, camembert.*found GPT2.*'gpt2'"):
        CrossEncoder.load(ModelSettings(model=str(copied_model)))


def test_code_that_a_checkpoint_brings_along_is_not_run(copied_model):
    (copied_model / "evil.py").write_text("raise SystemExit('code of the checkpoint was run')")
    change_config(copied_model, model_type="eigenbau", auto_map={"AutoConfig": "evil.Config"})
    with pytest.raises(ModelLoadError, match=r"config\.json is not a configuration we can use"):
        CrossEncoder.load(ModelSettings(model=str(copied_model)))


def test_weights_without_a_head_are_refused_instead_of_being_random(copied_model):
    path = copied_model / "model.safetensors"
    weights = {name: tensor for name, tensor in load_file(path).items() if not name.startswith("classifier")}
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"lack classifier\..*random"):
        CrossEncoder.load(ModelSettings(model=str(copied_model)))


def test_damaged_weights_are_an_error_that_names_the_folder(copied_model):
    (copied_model / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelLoadError, match="cannot be read"):
        CrossEncoder.load(ModelSettings(model=str(copied_model)))


def test_a_length_above_the_limit_is_refused_at_load(tiny_model):
    with pytest.raises(SettingsError, match="513"):
        CrossEncoder.load(ModelSettings(model=tiny_model, max_length=513))


def test_device_and_dtype_are_resolved_to_what_this_machine_has():
    on_cpu = resolve_settings(ModelSettings(device="cpu"))
    assert (on_cpu.device, on_cpu.dtype, on_cpu.backend) == ("cpu", "float32", "torch")
    assert resolve_settings(on_cpu) == on_cpu


def test_the_pinned_revision_means_the_same_whether_it_is_named_or_not():
    assert resolve_settings(ModelSettings()) == resolve_settings(ModelSettings(revision=REFERENCE_REVISION))


def test_half_precision_on_a_cpu_is_refused_with_the_alternative():
    with pytest.raises(SettingsError, match="float16.*float32"):
        resolve_settings(ModelSettings(device="cpu", dtype="float16"))


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "warp"])
def test_a_device_that_does_not_exist_is_named(device):
    with pytest.raises(SettingsError, match=device):
        resolve_settings(ModelSettings(device=device))


def test_a_cuda_device_that_is_not_here_says_how_many_there_are():
    number = torch.cuda.device_count() + 7
    with pytest.raises(SettingsError, match=f"cuda:{number}.*torch sees"):
        resolve_settings(ModelSettings(device=f"cuda:{number}"))


@pytest.mark.parametrize(
    ("count", "index", "chosen"), [(2, "cuda:1", "cuda:1"), (2, "cuda", "cuda:0"), (2, None, "cuda:0")]
)
def test_the_device_that_was_asked_for_is_used_where_there_are_two(monkeypatch, count, index, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    resolved = resolve_settings(ModelSettings(device=index))
    assert (resolved.device, resolved.dtype) == (chosen, "float16")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_float16_on_a_gpu_stays_within_a_hundredth_of_float32(tiny_model):
    pairs = [("Où voter ?", "À la mairie. " * n) for n in (1, 40, 3, 150, 9)]
    on_cpu, on_gpu = (CrossEncoder.load(ModelSettings(model=tiny_model, device=device)) for device in ("cpu", "cuda"))
    assert on_gpu.launch(on_gpu.encode(pairs))() == pytest.approx(on_cpu.launch(on_cpu.encode(pairs))(), abs=1e-2)


WHILE_TRANSFORMERS_IS_IMPORTED = """
import importlib, sys, threading
from fr_reranker_plugin import CrossEncoder, ModelSettings

other = threading.Thread(target=importlib.import_module, args=["transformers"])
other.start()
while other.is_alive() and "transformers" not in sys.modules:
    pass
CrossEncoder.load(ModelSettings(model=sys.argv[1]))
"""


def test_a_model_is_loaded_while_another_thread_imports_transformers(tiny_model):
    command = [sys.executable, "-c", WHILE_TRANSFORMERS_IS_IMPORTED, tiny_model]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
