"""What training begins with: a cross-encoder as it is, or an encoder with a new head."""

import pytest
import torch
from transformers import AutoModel

from checkpoints import build_cross_encoder
from fr_reranker_plugin import ModelLoadError, ModelSettings, SettingsError, shared_scorer
from fr_reranker_plugin.scoring.checkpoint import embedded_checkpoint
from fr_reranker_plugin.training.start_model import open_start, save_result

PAIRS = [("Où voter ?", "À la mairie."), ("Où porter plainte ?", "Au commissariat, à la gendarmerie ou en ligne.")]


def logits(folder):
    scorer = shared_scorer(ModelSettings(model=str(folder), device="cpu"))
    found = list(scorer.score(PAIRS))
    scorer.close()
    return found


@pytest.mark.parametrize("family", ["embedded", "xlm-roberta", "camembert", "roberta", "distilbert"])
def test_a_model_that_learnt_nothing_is_saved_as_it_was(family, checkpoint_of, tmp_path):
    start = embedded_checkpoint("cross_encoder") if family == "embedded" else checkpoint_of(family)
    model, reading_length = open_start(start, seed=0, max_length=32)
    assert next(model.parameters()).dtype == torch.float32
    assert (model.max_seq_length, reading_length) == (32, 512)
    save_result(model, start, tmp_path)
    assert logits(tmp_path) == pytest.approx(logits(start), abs=1e-4)


@pytest.fixture
def encoder(checkpoint_of, tmp_path):
    """A tiny BERT without a head, and with a pooler of zeros, as encoders have it whose pooler nobody uses."""
    folder = checkpoint_of("bert")
    model = AutoModel.from_pretrained(folder)
    torch.nn.init.zeros_(model.pooler.dense.weight)
    model.save_pretrained(tmp_path / "encoder")
    for path in folder.glob("*token*"):
        (tmp_path / "encoder" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "encoder"


def test_an_encoder_gets_a_head_by_the_seed_that_a_gradient_passes(encoder, tmp_path):
    for number, seed in enumerate([1, 1, 2]):
        model, _ = open_start(encoder, seed=seed, max_length=32)
        save_result(model, encoder, tmp_path / str(number))
    first, same, other = (logits(tmp_path / str(number)) for number in range(3))
    assert first == same != other
    assert first[0] != first[1]


def test_a_start_without_a_tokenizer_is_refused(encoder):
    for path in encoder.glob("*token*"):
        path.unlink()
    with pytest.raises(ModelLoadError, match="has no tokenizer"):
        open_start(encoder, seed=0, max_length=32)


def test_what_is_no_start_is_refused(checkpoint_of, tmp_path):
    with pytest.raises(ModelLoadError, match="found 3 labels"):
        open_start(build_cross_encoder(tmp_path / "labels", "bert", num_labels=3), seed=0, max_length=32)
    with pytest.raises(SettingsError, match="max_length must be <= 512"):
        open_start(checkpoint_of("bert"), seed=0, max_length=1024)
    config = (checkpoint_of("bert") / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"bert"', '"electra"').replace("BertForSeq", "ElectraForSeq"))
    with pytest.raises(ModelLoadError, match="electra"):
        open_start(tmp_path, seed=0, max_length=32)
