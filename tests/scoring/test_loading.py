"""What cannot be loaded is refused with a sentence that says what is wrong and what to do."""

import json
import shutil
import traceback

import pytest
import torch
from tokenizers import Tokenizer
from transformers import XLMRobertaForSequenceClassification

from checkpoints import FAMILIES
from fr_reranker_plugin import CrossEncoder, ModelLoadError, ModelSettings, SettingsError
from fr_reranker_plugin.retrieval.text_encoder import TextEncoder
from fr_reranker_plugin.scoring.loading import resolve_settings


def load(folder):
    return CrossEncoder.load(ModelSettings(model=str(folder), device="cpu"))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [CrossEncoder, TextEncoder])
def test_a_model_without_a_tokenizer_is_refused_as_it_would_know_no_word(checkpoint_of, tmp_path, family, kind):
    folder = shutil.copytree(checkpoint_of(family), tmp_path / "model")
    for path in folder.glob("token*"):
        path.unlink()
    with pytest.raises(ModelLoadError, match=r"has no tokenizer: expected tokenizer\.json.*fetch it again"):
        kind.load(ModelSettings(model=str(folder), device="cpu"))


def test_a_vocabulary_is_enough_where_the_family_has_it_as_text(checkpoint_of, tmp_path):
    folder = shutil.copytree(checkpoint_of("bert"), tmp_path / "model")
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    words = sorted(ids, key=ids.__getitem__)[:-1]  # transformers adds [MASK], which this vocabulary lacks
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    for path in folder.glob("token*"):
        path.unlink()
    assert len(load(folder).encode([("Où voter ?", "À la mairie.")])[0].token_ids) > 3


@pytest.mark.parametrize("kind", [CrossEncoder, TextEncoder])
def test_a_tokenizer_with_ids_that_the_model_does_not_know_is_refused(copied_model, kind):
    tokenizer = Tokenizer.from_file(str(copied_model / "tokenizer.json"))
    rows = tokenizer.get_vocab_size()
    tokenizer.add_tokens(["[nouveau]"])
    tokenizer.save(str(copied_model / "tokenizer.json"))
    with pytest.raises(ModelLoadError, match=f"ids up to {rows}, and the model knows those below {rows} only"):
        kind.load(ModelSettings(model=str(copied_model), device="cpu"))


@pytest.mark.parametrize("content", ["", "{}", '{"model": {}, "added_tokens": []}', "[1, 2", "\udcff"])
def test_a_damaged_tokenizer_is_an_error_that_names_the_folder(copied_model, content):
    (copied_model / "tokenizer.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ModelLoadError, match=f"the tokenizer in {copied_model} cannot be read.*fetch it again"):
        load(copied_model)


class Unsafe:
    """What a pickle of weights must not hold."""


@pytest.mark.parametrize("kind", ["empty", "junk", "truncated", "unsafe"])
def test_damaged_pickled_weights_are_an_error_without_the_advice_to_read_them_anyhow(copied_model, kind):
    (copied_model / "model.safetensors").unlink()
    path = copied_model / "pytorch_model.bin"
    torch.save({"a": Unsafe() if kind == "unsafe" else torch.ones(99)}, path)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "junk": b"junk junk", "truncated": whole[:300], "unsafe": whole}[kind])
    with pytest.raises(ModelLoadError, match=f"the model in {copied_model} cannot be read") as caught:
        load(copied_model)
    assert "set to `False`" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(("family", "key"), [("bert", "hidden_act"), ("distilbert", "activation")])
def test_an_activation_that_nobody_knows_is_named(checkpoint_of, tmp_path, family, key):
    folder = shutil.copytree(checkpoint_of(family), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: "gelou"}))
    with pytest.raises(ModelLoadError, match=r"config\.json: expected an activation.*'gelou'"):
        load(folder)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "does not fit.*another device"),
        (MemoryError(), "does not fit.*another device"),
        (RuntimeError("Cannot re-initialize CUDA in forked subprocess."), "was forked.*'spawn'"),
    ],
)
@pytest.mark.parametrize("place", ["to", "forward"])
def test_a_device_that_does_not_take_the_model_is_explained(tiny_model, monkeypatch, error, expected, place):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(XLMRobertaForSequenceClassification, place, refuse)
    with pytest.raises(ModelLoadError, match=f"{expected}") as caught:
        load(tiny_model)
    assert tiny_model in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("device", ["xpu", "meta", "vulkan", "hpu:0"])
def test_a_device_of_another_kind_is_refused_with_the_kinds_there_are(device):
    with pytest.raises(SettingsError, match=f"'cpu', 'cuda:0' or 'mps', got '{device}'"):
        resolve_settings(ModelSettings(device=device))


def test_the_cpu_is_one_device_however_it_is_numbered():
    assert resolve_settings(ModelSettings(device="cpu:0")) == resolve_settings(ModelSettings(device="cpu"))
