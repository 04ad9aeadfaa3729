"""What cannot be loaded is refused with a sentence that says what is wrong and what to do."""

import shutil

import pytest
from tokenizers import Tokenizer

from checkpoints import FAMILIES
from fr_reranker_plugin import CrossEncoder, ModelLoadError, ModelSettings
from fr_reranker_plugin.retrieval.text_encoder import TextEncoder


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
