"""The ONNX engine scores as torch does, and exports a checkpoint once."""

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from checkpoints import FAMILIES, SENTENCES, build_cross_encoder
from fr_reranker_plugin import MissingDependencyError, ModelLoadError, ModelSettings, SettingsError
from fr_reranker_plugin.scoring import onnx_cache
from fr_reranker_plugin.scoring.onnx_smoothing import smooth_encoder
from hard_texts import hard_pairs

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from fr_reranker_plugin.scoring.onnx_engine import OnnxEngine

PAIRS = [(query, passage) for query in SENTENCES for passage in SENTENCES]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache for each test."""
    monkeypatch.setenv("FR_RERANKER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "onnx"


@pytest.fixture
def exports(monkeypatch):
    """The dtypes of the exports that are made during the test."""
    made = []
    export = onnx_cache.export

    def counted(folder, config, tokenizer, settings, into):
        made.append(settings.dtype)
        return export(folder, config, tokenizer, settings, into)

    monkeypatch.setattr(onnx_cache, "export", counted)
    return made


def load(model, dtype="float32", **changes):
    return OnnxEngine.load(ModelSettings(model=str(model), device="cpu", dtype=dtype, backend="onnx", **changes))


def scores(engine, pairs):
    return engine.launch(engine.encode(pairs))()


def torch_scores(folder, engine, pairs):
    """What transformers computes, pair by pair."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    model.train(mode=False)
    encoded = engine.encode(pairs)
    with torch.inference_mode():
        return [
            model(
                input_ids=torch.tensor([pair.token_ids]),
                attention_mask=torch.ones(1, len(pair.token_ids), dtype=torch.long),
                **({"token_type_ids": torch.tensor([pair.type_ids])} if model.config.model_type == "bert" else {}),
            ).logits.item()
            for pair in encoded
        ]


def entries(cache):
    return sorted(path for path in cache.iterdir())


@pytest.mark.parametrize("family", FAMILIES)
def test_float32_logits_of_each_family_are_those_of_torch(checkpoint_of, family):
    engine = load(checkpoint_of(family))
    assert (engine.pads, engine.depth, engine.max_length) == (True, 1, 512)
    pairs = [*hard_pairs(12), ("<pad> <pad>", "le mot <pad> </s>"), ("Où voter ?", "À la mairie. " * 300)]
    expected = torch_scores(checkpoint_of(family), engine, pairs)
    assert scores(engine, pairs) == pytest.approx(expected, abs=1e-4)
    assert [scores(engine, [pair])[0] for pair in pairs] == pytest.approx(expected, abs=1e-4)


def test_a_second_use_exports_nothing(tiny_model, cache, exports):
    first = scores(load(tiny_model), PAIRS)
    (entry,) = entries(cache)
    written = (entry / "model.onnx").stat().st_mtime_ns
    assert scores(load(tiny_model), PAIRS) == first
    assert exports == ["float32"]
    assert (entry / "model.onnx").stat().st_mtime_ns == written


def test_the_manifest_says_what_was_exported_with_what_and_how_exactly(tiny_model, cache):
    load(tiny_model)
    manifest = json.loads((entries(cache)[0] / "manifest.json").read_text())
    assert manifest["model"] == tiny_model
    assert manifest["max_logit_difference"] <= 1e-4
    identity = manifest["identity"]
    assert (identity["dtype"], identity["opset"]) == ("float32", 17)
    assert {"config.json", "model.safetensors"} <= identity["checkpoint"].keys()
    assert identity["versions"].keys() == {"torch", "transformers", "onnx", "onnxruntime"}
    assert manifest["files"].keys() == {"model.onnx"}


@pytest.mark.parametrize("damage", ["model.onnx", "manifest.json", "no model", "no manifest", "other versions"])
def test_a_damaged_or_stale_entry_is_exported_again(tiny_model, cache, exports, damage):
    first = scores(load(tiny_model), PAIRS)
    (entry,) = entries(cache)
    if damage.startswith("no "):
        (entry / {"no model": "model.onnx", "no manifest": "manifest.json"}[damage]).unlink()
    elif damage == "other versions":
        manifest = json.loads((entry / "manifest.json").read_text())
        manifest["identity"]["versions"]["torch"] = "1.0"
        (entry / "manifest.json").write_text(json.dumps(manifest))
    else:
        (entry / damage).write_bytes((entry / damage).read_bytes()[:-7] + b"damaged")
    assert scores(load(tiny_model), PAIRS) == first
    assert len(exports) == 2
    load(tiny_model)
    assert len(exports) == 2
    assert entries(cache) == [entry]


def test_new_weights_under_an_old_name_are_exported_and_replace_the_old_export(tmp_path, cache, exports):
    folder = build_cross_encoder(tmp_path / "model")
    first = scores(load(folder), PAIRS)
    build_cross_encoder(folder, seed=1)
    second = load(folder)
    assert scores(second, PAIRS) != pytest.approx(first, abs=1e-2)
    assert scores(second, PAIRS) == pytest.approx(torch_scores(folder, second, PAIRS), abs=1e-4)
    assert len(exports) == 2
    assert len(entries(cache)) == 1


def test_a_copy_of_a_checkpoint_elsewhere_uses_the_same_export(tiny_model, tmp_path, exports):
    load(tiny_model)
    load(shutil.copytree(tiny_model, tmp_path / Path(tiny_model).name))
    assert exports == ["float32"]


def test_threads_that_load_at_once_export_once(tiny_model, exports):
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: scores(load(tiny_model), PAIRS), range(3), timeout=60))
    assert found[0] == found[1] == found[2]
    assert exports == ["float32"]


def test_a_sound_entry_that_came_meanwhile_is_kept(tiny_model, cache, tmp_path):
    load(tiny_model)
    (entry,) = entries(cache)
    made = Path(shutil.copytree(entry, tmp_path / "made"))
    identity = json.loads((entry / "manifest.json").read_text())["identity"]
    inode = (entry / "model.onnx").stat().st_ino
    onnx_cache._publish(made, entry, identity, aside=tmp_path)
    assert (entry / "model.onnx").stat().st_ino == inode
    (entry / "model.onnx").write_bytes(b"damaged")
    onnx_cache._publish(made, entry, identity, aside=tmp_path)
    assert onnx_cache.read_manifest(entry, identity) is not None


def test_a_cache_that_cannot_be_written_is_an_error_that_names_the_variable(tiny_model, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FR_RERANKER_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelLoadError, match="FR_RERANKER_CACHE"):
        load(tiny_model)


def test_the_cache_is_where_the_system_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.delenv("FR_RERANKER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert onnx_cache.cache_folder() == tmp_path / "fr-reranker-plugin" / "onnx"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert onnx_cache.cache_folder() == Path.home() / ".cache" / "fr-reranker-plugin" / "onnx"


@pytest.mark.parametrize("package", ["onnxruntime", "onnx"])
def test_a_missing_package_is_an_error_that_names_the_extra(tiny_model, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"{package}.*fr-reranker-plugin\[onnx\]"):
        load(tiny_model)


@pytest.mark.parametrize(("changes", "message"), [({"device": "cuda:0"}, "CPU only"), ({"dtype": "bfloat16"}, "int8")])
def test_other_devices_and_dtypes_are_refused(tiny_model, changes, message):
    settings = ModelSettings(**({"model": tiny_model, "device": "cpu", "backend": "onnx"} | changes))
    with pytest.raises(SettingsError, match=message):
        OnnxEngine.load(settings)


@pytest.mark.parametrize("family", FAMILIES)
def test_evening_out_the_channels_changes_no_logit_but_their_ranges(checkpoint_of, family):
    folder = checkpoint_of(family)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    model.train(mode=False)
    draw = torch.Generator().manual_seed(7)
    batches = [{"input_ids": torch.randint(5, 40, (2, 20), generator=draw)} for _ in range(3)]
    with torch.inference_mode():
        before = [model(**batch).logits for batch in batches]
    products = sum(isinstance(one, torch.nn.Linear) for one in model.modules())
    smooth_encoder(model, batches)
    evened = [one for one in model.modules() if isinstance(one, torch.nn.Sequential) and len(one) == 2]
    with torch.inference_mode():
        after = [model(**batch).logits for batch in batches]
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
    assert products - 3 < len(evened) < products


def test_int8_ranks_much_as_float32_does_and_the_file_is_smaller():
    exact, rounded = load("embedded"), load("embedded", "int8")
    expected, found = scores(exact, PAIRS), [scores(rounded, [pair])[0] for pair in PAIRS]
    assert max(abs(one - other) for one, other in zip(expected, found, strict=True)) < 0.6
    orders = [(expected[i] - expected[j]) * (found[i] - found[j]) for i, j in combinations(range(len(PAIRS)), 2)]
    kendall = sum((order > 0) - (order < 0) for order in orders) / len(orders)
    assert kendall > 0.9


def test_int8_is_a_separate_export_of_which_head_and_embeddings_stay_float32(tiny_model, cache, exports):
    import onnx

    load(tiny_model)
    load(tiny_model, "int8")
    assert exports == ["float32", "int8"]
    (rounded,) = (path for path in entries(cache) if "-int8-" in path.name)
    nodes = onnx.load(rounded / "model.onnx").graph.node
    assert sum(node.op_type == "MatMulInteger" for node in nodes) == 2 * 5
    heads = [node for node in nodes if node.op_type in ("MatMul", "Gemm") and "classifier" in node.name]
    assert len(heads) == 2
