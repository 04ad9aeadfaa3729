"""The padding-free forward pass: what it computes, in every arithmetic, is what transformers computes."""

import json
import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from checkpoints import FAMILIES, build_cross_encoder
from encoders import build_bi_encoder
from fr_reranker_plugin import CrossEncoder, ModelLoadError, ModelSettings, SettingsError
from fr_reranker_plugin.retrieval.encoder_engine import EncoderEngine
from fr_reranker_plugin.scoring.forward import bfloat16_product, int8
from fr_reranker_plugin.scoring.forward.attention import (
    Layout,
    attend_by_length,
    attend_padded,
    attend_variable_length,
    choose_attention,
)
from fr_reranker_plugin.scoring.forward.batch import Numbering
from fr_reranker_plugin.scoring.forward.encoder_weights import Affine
from fr_reranker_plugin.scoring.forward.linear import Float32Linear, Scratch, SplitLinear

CPU = torch.device("cpu")
needs_int8 = pytest.mark.skipif(not int8.is_supported(), reason="needs a CPU with VNNI")
needs_tiles = pytest.mark.skipif(not bfloat16_product.is_available(), reason="needs a CPU with AMX")

PAIRS = [
    ("Où déclarer une naissance ?", "La déclaration de naissance se fait à la mairie dans les cinq jours."),
    ("Où déclarer une naissance ?", "Le train part à midi."),
    ("", ""),
    ("Que dit la loi ?", "Le locataire donne congé par lettre recommandée avec un préavis d'un à trois mois. " * 60),
    ("Un <pad> dans le texte ?", "Oui, <pad> <pad> et voilà."),
]


def load(model, **settings):
    return CrossEncoder.load(ModelSettings(model=str(model), device="cpu", **settings))


def logits_of(engine, pairs):
    return engine.launch(engine.encode(pairs))()


def expected_logits(folder, engine, pairs):
    """Give what transformers computes for each pair alone, without padding."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    logits = []
    for pair in engine.encode(pairs):
        inputs = {"input_ids": torch.tensor([pair.token_ids])}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if model.config.model_type == "bert":
            inputs["token_type_ids"] = torch.tensor([pair.type_ids])
        with torch.inference_mode():
            logits.append(model(**inputs).logits.item())
    return logits


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_batch_gives_what_transformers_gives_for_each_pair_alone(checkpoint_of, family):
    folder = checkpoint_of(family)
    engine = load(folder)
    assert logits_of(engine, PAIRS) == pytest.approx(expected_logits(folder, engine, PAIRS), abs=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", pytest.param("int8", marks=needs_int8)])
def test_a_logit_depends_on_its_pair_only(dtype):
    engine = load("embedded", dtype=dtype)
    alone = [logits_of(engine, [pair])[0] for pair in PAIRS]
    assert logits_of(engine, PAIRS[::-1])[::-1] == pytest.approx(alone, abs=1e-4 if dtype == "float32" else 2e-2)


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("int8", marks=needs_int8)])
def test_a_rounded_arithmetic_stays_close_to_float32(dtype):
    pairs = [pair for pair in PAIRS if pair[0]]
    exact, rounded = (logits_of(load("embedded", dtype=one), pairs) for one in ("float32", dtype))
    assert rounded != exact
    assert rounded == pytest.approx(exact, abs=0.1 if dtype == "bfloat16" else 1.0)
    assert sorted(range(len(pairs)), key=rounded.__getitem__)[-1] == 0


@needs_int8
def test_int8_reads_a_feed_forward_part_with_another_activation(checkpoint_of, tmp_path):
    folder = build_cross_encoder(tmp_path, "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    weights = load_file(folder / "model.safetensors")
    quiet = {"classifier.weight": weights["classifier.weight"] / 8}  # random weights make much of a rounding
    save_file(weights | quiet, folder / "model.safetensors", {"format": "pt"})
    exact, rounded = (logits_of(load(folder, dtype=one), PAIRS) for one in ("float32", "int8"))
    assert rounded == pytest.approx(exact, abs=0.3)
    assert rounded != exact


def test_int8_is_refused_where_the_processor_cannot(monkeypatch, tiny_model):
    monkeypatch.setattr(int8, "capabilities", dict)
    with pytest.raises(SettingsError, match="needs a CPU with AVX-512 VNNI"):
        load(tiny_model, dtype="int8")


@pytest.mark.parametrize("slow", [True, False])
def test_a_processor_that_is_slow_in_bfloat16_is_warned_about(monkeypatch, tiny_model, caplog, slow):
    monkeypatch.setattr("fr_reranker_plugin.scoring.forward.bfloat16_product.is_slow", lambda: slow)
    load(tiny_model, dtype="bfloat16")
    assert ("several times as long as 'float32'" in caplog.text) is slow


def test_a_model_that_computes_something_else_here_is_refused(monkeypatch, tiny_model):
    monkeypatch.setattr("fr_reranker_plugin.scoring.cross_encoder._reference_logit", lambda *_: 1234.0)
    with pytest.raises(ModelLoadError, match=r"here and 1234\.0000 in transformers"):
        load(tiny_model)


@pytest.mark.parametrize("lengths", [[1], [3, 3, 5, 5, 5, 9], [7, 1, 7]])
@pytest.mark.parametrize("first_only", [False, True])
def test_the_ways_to_attend_agree(lengths, first_only):
    torch.manual_seed(0)
    keys, values, queries = (torch.randn(sum(lengths), 2, 8) for _ in range(3))
    of_keys = of_queries = Layout.of(lengths, CPU)
    if first_only:
        queries, of_queries = queries[of_keys.bounds[:-1].long()], Layout.of([1] * len(lengths), CPU)
    by_length = attend_by_length(queries, keys, values, of_queries, of_keys)
    padded = attend_padded(queries, keys, values, of_queries, of_keys)
    torch.testing.assert_close(by_length, padded)


def test_a_broken_sequence_does_not_reach_into_the_padding_of_others():
    lengths = [2, 5, 3]
    layout = Layout.of(lengths, CPU)
    rows = torch.randn(sum(lengths), 2, 8)
    rows[:2] = torch.nan
    context = attend_padded(rows, rows, rows, layout, layout)
    assert context[:2].isnan().all()
    assert context[2:].isfinite().all()


def test_padded_attention_never_stops_the_host_to_read_from_its_device():
    nothing_to_read = torch.device("meta")
    layout, rows = Layout.of([2, 5, 3], nothing_to_read), torch.empty(10, 2, 8, device=nothing_to_read)
    assert attend_padded(rows, rows, rows, layout, layout).shape == rows.shape
    assert layout.padding is layout.padding


@pytest.mark.parametrize("kind", [CrossEncoder, EncoderEngine])
@pytest.mark.parametrize("attention", [attend_by_length, attend_padded])
def test_an_engine_pads_where_its_attention_does(monkeypatch, tiny_model, tmp_path, kind, attention):
    monkeypatch.setattr("fr_reranker_plugin.scoring.forward.precision.choose_attention", lambda *_: attention)
    folder = tiny_model if kind is CrossEncoder else build_bi_encoder(tmp_path / "model")
    engine = kind.load(ModelSettings(model=str(folder), device="cpu"))
    assert engine.pads is (attention is attend_padded)


@pytest.mark.parametrize(
    ("capability", "dtype", "head_width", "expected"),
    [
        ((7, 5), torch.float16, 64, "is older"),
        ((8, 0), torch.float16, 26, "this model's is 26"),
        ((9, 0), torch.bfloat16, 264, "this model's is 264"),
        ((9, 0), torch.float16, 32, None),
        ((8, 6), torch.bfloat16, 256, None),
    ],
)
def test_packed_attention_is_chosen_only_where_its_kernel_runs(
    monkeypatch, caplog, capability, dtype, head_width, expected
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    chosen = choose_attention(torch.device("cuda:0"), dtype, head_width)
    assert chosen is (attend_padded if expected else attend_variable_length)
    assert expected in caplog.text if expected else not caplog.text


def test_float32_on_a_gpu_is_padded_without_a_warning(caplog):
    assert choose_attention(torch.device("cuda:0"), torch.float32, 64) is attend_padded
    assert not caplog.text


def test_padding_that_a_text_spells_takes_no_position():
    roberta, bert = Numbering(2, 1, has_types=False), Numbering(0, None, has_types=True)
    tokens, lengths = np.array([0, 5, 1, 7, 2, 1, 5, 0]), [5, 2, 1]
    assert roberta.positions(tokens, lengths).tolist() == [2, 3, 1, 4, 5, 1, 2, 2]
    assert bert.positions(tokens, lengths).tolist() == [0, 1, 2, 3, 4, 0, 1, 0]


@needs_tiles
def test_a_product_of_split_numbers_is_a_hundred_times_closer_than_bfloat16():
    torch.manual_seed(0)
    rows, affine = torch.randn(37, 768), Affine(torch.randn(96, 768) / 28, torch.randn(96))
    exact = rows.double() @ affine.weight.double().T + affine.bias.double()
    plain = Float32Linear(affine, "output", Scratch())(rows)
    found = SplitLinear(affine, "output", Scratch())(rows)
    rounded = (rows.bfloat16() @ affine.weight.bfloat16().T).float() + affine.bias
    torch.testing.assert_close(plain.double(), exact, atol=1e-5, rtol=0)
    assert (found - exact).abs().max() < (rounded - exact).abs().max() / 100


@needs_tiles
def test_split_products_are_used_only_where_the_logits_cannot_tell(monkeypatch, tiny_model, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("fr_reranker_plugin.scoring.forward.precision._INDISTINGUISHABLE", 0.0)
    load(tiny_model)
    assert "its products stay in plain float32" in caplog.text


def test_without_tile_units_float32_is_plain(monkeypatch, tiny_model):
    monkeypatch.setattr(bfloat16_product, "is_available", lambda: False)
    monkeypatch.setattr("fr_reranker_plugin.scoring.forward.precision.split_products", lambda: pytest.fail("was used"))
    load(tiny_model)


def test_scratch_memory_is_given_again_and_grows():
    scratch = Scratch()
    small = scratch.rows("output", 3, 4, torch.float32)
    assert scratch.rows("output", 2, 4, torch.float32).data_ptr() == small.data_ptr()
    assert scratch.rows("intermediate", 3, 4, torch.float32).data_ptr() != small.data_ptr()
    assert scratch.rows("output", 9, 4, torch.float32).shape == (9, 4)
