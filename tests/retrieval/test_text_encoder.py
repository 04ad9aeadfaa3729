"""The bi-encoder gives the vectors that sentence-transformers gives, in order, from any number of threads."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoConfig, ElectraConfig, ElectraModel

from checkpoints import FAMILIES, SENTENCES
from encoders import E5_PROMPTS, build_bi_encoder, write_json, write_modules
from fr_reranker_plugin import EncoderIdentity, ModelLoadError, ModelSettings, SettingsError
from fr_reranker_plugin.retrieval.text_encoder import TextEncoder, length_sorted_batches
from fr_reranker_plugin.scoring.forward import int8

TEXTS = [*SENTENCES, "", "   ", "court", "L'été 👨‍👩‍👧 à Orléans\nsur deux lignes", " ".join(SENTENCES * 20)]
CLOSE = 1e-5


def load(folder: Path, **options) -> TextEncoder:
    return TextEncoder.load(ModelSettings(model=str(folder), device="cpu"), **options)


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bi_encoder(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def plain(plain_folder: Path) -> TextEncoder:
    return load(plain_folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_vectors_are_those_of_sentence_transformers(family: str, tmp_path: Path) -> None:
    folder = build_bi_encoder(tmp_path / family, family, pooling={"pooling_mode_mean_tokens": True})
    theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    assert np.abs(load(folder).encode(TEXTS) - theirs).max() <= CLOSE


@pytest.mark.parametrize("family", FAMILIES)
def test_the_folder_may_ask_for_lower_case(family: str, tmp_path: Path) -> None:
    folder = build_bi_encoder(tmp_path / family, family, pooling={"pooling_mode": "mean"}, max_seq_length=64)
    as_written = load(folder)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": True})
    loud = ["DÉCLARER UNE NAISSANCE À LA MAIRIE", *(text.upper() for text in TEXTS)]
    theirs = SentenceTransformer(str(folder), device="cpu").encode(loud)
    lower = load(folder)
    assert np.abs(lower.encode(loud) - theirs).max() <= CLOSE
    assert np.array_equal(lower.encode(loud[:1]), lower.encode([loud[0].lower()]))
    assert as_written.identity.differences(lower.identity)


@pytest.mark.parametrize("pooling", [{"pooling_mode": "cls"}, {"pooling_mode_cls_token": True}], ids=["new", "old"])
def test_the_folder_may_ask_for_the_vector_of_the_first_token(pooling: dict, tmp_path: Path) -> None:
    folder = build_bi_encoder(tmp_path / "cls", pooling=pooling)
    theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    ours = load(folder).encode(TEXTS)
    assert np.abs(ours - theirs).max() <= CLOSE
    (folder / "1_Pooling" / "config.json").unlink()
    assert np.abs(load(folder).encode(TEXTS) - theirs).max() > CLOSE


@pytest.mark.parametrize(
    "pooling",
    [{"pooling_mode": "max"}, {"pooling_mode": ["cls", "mean"]}, {"pooling_mode_lasttoken": True}],
    ids=["max", "two", "last"],
)
def test_another_pooling_is_refused_rather_than_replaced(pooling: dict, tmp_path: Path) -> None:
    folder = build_bi_encoder(tmp_path / "other", pooling=pooling)
    with pytest.raises(ModelLoadError, match="expected mean or cls pooling, found"):
        load(folder)


def test_a_module_that_is_not_implemented_is_refused_by_name(tmp_path: Path) -> None:
    folder = build_bi_encoder(tmp_path / "dense", pooling={"pooling_mode": "mean"})
    write_modules(folder, ["Transformer", "Pooling", "Dense"])
    with pytest.raises(ModelLoadError, match="found 'Dense', which is not supported"):
        load(folder)


def test_a_family_we_do_not_know_is_read_through_transformers_with_the_same_vectors(tmp_path: Path) -> None:
    folder = build_bi_encoder(tmp_path / "electra", pooling={"pooling_mode": "mean"})
    config = ElectraConfig(
        vocab_size=AutoConfig.from_pretrained(folder).vocab_size, embedding_size=16, hidden_size=32,
        num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, pad_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    ElectraModel(config).save_pretrained(folder)
    theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    assert np.abs(load(folder).encode(TEXTS) - theirs).max() <= CLOSE
    if int8.is_supported():
        with pytest.raises(SettingsError, match=r"dtype 'int8' is for the families .*, not 'electra'; use 'float32'"):
            TextEncoder.load(ModelSettings(model=str(folder), device="cpu", dtype="int8"))


def test_a_model_that_our_forward_pass_gets_wrong_is_read_through_transformers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = build_bi_encoder(tmp_path / "scaled", "bert", pooling={"pooling_mode": "mean"})
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "is_decoder": True})  # each token then reads those before it only
    theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    encoder = load(folder)
    assert "its batches are padded" in caplog.text
    assert np.abs(encoder.encode(TEXTS) - theirs).max() <= CLOSE


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_the_embedded_encoder_stays_close_in_less_precision(dtype: str) -> None:
    if dtype == "int8" and not int8.is_supported():
        pytest.skip("needs a CPU with VNNI")
    exact = TextEncoder.load(ModelSettings(model="embedded", device="cpu")).encode_passages(SENTENCES)
    rounded = TextEncoder.load(ModelSettings(model="embedded", device="cpu", dtype=dtype)).encode_passages(SENTENCES)
    cosines = (exact * rounded).sum(axis=1)
    assert cosines.min() >= 0.99
    assert cosines.max() < 1 - 1e-7


def test_the_onnx_backend_is_refused(plain_folder: Path) -> None:
    with pytest.raises(SettingsError, match="backend 'onnx' is for cross-encoders"):
        TextEncoder.load(ModelSettings(model=str(plain_folder), backend="onnx"))


def test_the_identity_tells_what_makes_vectors_comparable(tmp_path: Path) -> None:
    folder = build_bi_encoder(tmp_path / "named", prompts=E5_PROMPTS, max_seq_length=24)
    found = load(folder, query_prefix="q> ").identity
    assert replace(found, fingerprint=None) == EncoderIdentity(
        model=str(folder), max_length=24, query_prefix="q> ", passage_prefix="passage: ", dimension=32
    )


def test_a_model_is_known_by_its_weights_wherever_it_lies(tmp_path: Path) -> None:
    folder = build_bi_encoder(tmp_path / "one")
    first = load(folder).identity
    shutil.copytree(folder, tmp_path / "moved")
    assert first.differences(load(tmp_path / "moved").identity) == []
    weights = load_file(folder / "model.safetensors")
    name = min(weights)
    save_file({**weights, name: weights[name] + 0.1}, folder / "model.safetensors", metadata={"format": "pt"})
    retrained = load(folder).identity
    assert [difference.split()[0] for difference in first.differences(retrained)] == ["fingerprint"]
    unknown = replace(retrained, fingerprint=None)
    assert first.differences(unknown) == []
    assert first.differences(replace(unknown, model="another")) == [f"model {str(folder)!r}, not 'another'"]


def test_a_folder_is_the_same_model_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build_bi_encoder(tmp_path / "my-e5")
    monkeypatch.chdir(folder)
    written = [TextEncoder.load(ModelSettings(model=name, device="cpu")).identity for name in (str(folder), ".")]
    assert written[0] == written[1]
    assert written[0].query_prefix == "query: "


def test_a_snapshot_of_the_hub_is_known_by_its_commit(tmp_path: Path) -> None:
    folder = build_bi_encoder(tmp_path / "snapshots" / "0123abc")
    assert load(folder).identity.revision == "0123abc"


def test_every_vector_has_length_one(plain: TextEncoder) -> None:
    vectors = plain.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), plain.dimension)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_no_texts_give_no_vectors(plain: TextEncoder) -> None:
    assert plain.encode([]).shape == (0, plain.dimension)
    assert plain.encode_queries([]).shape == (0, plain.dimension)


def test_the_order_is_that_of_the_texts_whatever_the_batches(plain_folder: Path, plain: TextEncoder) -> None:
    together = plain.encode(TEXTS)
    alone = np.concatenate([plain.encode([text]) for text in TEXTS])
    backwards = load(plain_folder, max_batch_tokens=40).encode(TEXTS[::-1])[::-1]
    assert np.abs(together - alone).max() <= CLOSE
    assert np.abs(together - backwards).max() <= CLOSE


@given(lengths=st.lists(st.integers(1, 600)), budget=st.integers(1, 2000), pads=st.booleans())
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], budget: int, pads: bool) -> None:
    batches = list(length_sorted_batches(lengths, budget, pads=pads))
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        tokens = [lengths[place] for place in batch]
        assert len(batch) == 1 or (max(tokens) * len(tokens) if pads else sum(tokens)) <= budget


def test_threads_get_the_vectors_of_their_own_texts(plain: TextEncoder) -> None:
    serial = [plain.encode([text]) for text in TEXTS]
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(plain.encode, [[text] for text in TEXTS] * 8, timeout=60))
    for place, vectors in enumerate(parallel):
        assert np.abs(vectors - serial[place % len(TEXTS)]).max() <= CLOSE


@pytest.mark.parametrize(
    "prompts",
    [{"query": "q> ", "document": "d> "}, {"query": "q> ", "document": "", "passage": "d> "}],
    ids=["document", "passage"],
)
def test_each_role_gets_the_prompt_of_the_folder(prompts: dict[str, str], tmp_path: Path) -> None:
    encoder = load(build_bi_encoder(tmp_path / "prompts", prompts=prompts))
    assert np.array_equal(encoder.encode_queries(["Où ?"]), encoder.encode(["q> Où ?"]))
    assert np.array_equal(encoder.encode_passages(["Ici."]), encoder.encode(["d> Ici."]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("multilingual-e5-small", ("query: ", "passage: ")),
        ("E5-base-v2", ("query: ", "passage: ")),
        ("crossencoder-me5-fr", ("query: ", "passage: ")),
        ("multilingual-e5-large-instruct", ("", "")),
        ("sentence-camembert-base", ("", "")),
        ("some5small", ("", "")),
    ],
)
def test_a_model_without_prompts_gets_those_of_e5_if_its_name_says_so(
    name: str, expected: tuple[str, str], tmp_path: Path
) -> None:
    folder = build_bi_encoder(tmp_path / name, prompts={"query": "", "document": ""})
    assert load(folder).prefixes == expected


def test_a_prefix_that_is_given_wins_even_if_it_is_empty(tmp_path: Path) -> None:
    folder = build_bi_encoder(tmp_path / "given", prompts=E5_PROMPTS)
    assert load(folder, query_prefix="", passage_prefix="texte : ").prefixes == ("", "texte : ")


def test_the_folder_says_how_long_a_text_may_be(tmp_path: Path) -> None:
    folder = build_bi_encoder(tmp_path / "short", pooling={"pooling_mode": "mean"}, max_seq_length=24)
    encoder = load(folder)
    assert encoder.max_length == 24
    theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    assert np.abs(encoder.encode(TEXTS) - theirs).max() <= CLOSE


def test_a_longer_text_than_the_model_can_read_is_refused_when_asked_for(plain_folder: Path) -> None:
    with pytest.raises(SettingsError, match="max_length=600 is above the 512 tokens"):
        TextEncoder.load(ModelSettings(model=str(plain_folder), device="cpu", max_length=600))


def test_half_characters_are_read_as_question_marks(plain: TextEncoder) -> None:
    assert np.array_equal(plain.encode(["abc\ud800"]), plain.encode(["abc?"]))


@pytest.mark.parametrize("form", [iter, tuple, np.asarray])
def test_texts_may_come_in_any_form_that_can_be_read_once(form, plain: TextEncoder) -> None:
    for encode in (plain.encode, plain.encode_queries, plain.encode_passages):
        assert np.array_equal(encode(form(["une phrase", "une autre"])), encode(["une phrase", "une autre"]))


@pytest.mark.parametrize("texts", ["une phrase", ["une phrase", None]], ids=["one string", "none inside"])
def test_what_is_not_a_list_of_texts_is_refused(texts: object, plain: TextEncoder) -> None:
    for encode in (plain.encode, plain.encode_queries, plain.encode_passages):
        with pytest.raises(SettingsError, match=r"expected a list of texts|text 1 must be a string, got NoneType"):
            encode(texts)  # type: ignore[arg-type]


def test_weights_that_would_be_random_are_refused_but_the_unused_pooler_is_not(tmp_path: Path) -> None:
    folder = build_bi_encoder(tmp_path / "partial")
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("pooler")}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    assert load(folder).encode(["a"]).shape == (1, 32)
    del kept["encoder.layer.1.output.dense.weight"]
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"lack encoder\.layer\.1\.output\.dense\.weight"):
        load(folder)


def test_a_family_without_positions_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"model_type": "t5"})
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelLoadError, match="expected a text encoder like BERT, found the family 't5'"):
        load(tmp_path)


def test_the_embedded_encoder_is_an_e5_that_agrees_with_sentence_transformers() -> None:
    encoder = TextEncoder.load(ModelSettings(model="embedded", device="cpu"))
    assert encoder.prefixes == ("query: ", "passage: ")
    assert encoder.max_length == 512
    folder = Path(__file__).parents[2] / "src" / "fr_reranker_plugin" / "models" / "bi_encoder"
    theirs = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
    assert np.abs(encoder.encode_queries(SENTENCES) - theirs.encode(SENTENCES, prompt_name="query")).max() <= CLOSE
    assert np.abs(encoder.encode_passages(SENTENCES) - theirs.encode(SENTENCES, prompt_name="passage")).max() <= CLOSE
