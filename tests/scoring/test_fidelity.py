"""The same checkpoint gives the same numbers here as in the libraries that its card names."""

import importlib.util
import json
from pathlib import Path
from random import Random

import pytest
import torch
from sentence_transformers import CrossEncoder as Reference

from checkpoints import SENTENCES
from fr_reranker_plugin import ModelSettings, shared_scorer
from fr_reranker_plugin.collections import load_collection
from fr_reranker_plugin.evaluation.other_loaders import flag_embedding, plain_transformers
from fr_reranker_plugin.scoring.checkpoint import embedded_checkpoint
from fr_reranker_plugin.scoring.ranking import sigmoid
from hard_texts import HARD_TEXTS

COLLECTION = Path(__file__).parents[2] / "examples" / "sample_collection"
GOLDEN = Path(__file__).with_name("golden_scores.jsonl")
MODELS = ("embedded", "xlm-roberta", "camembert", "bert")


@pytest.fixture(scope="module")
def french_pairs():
    """2,100 pairs: questions with passages or first sentences, and texts that are empty, long, odd, or both long."""
    random = Random(7)
    collection = load_collection(COLLECTION)
    questions, passages = list(collection.queries.values()), [one.full_text for one in collection.corpus.values()]

    def passage():
        text = random.choice(passages)
        return text if random.random() < 0.05 else text.split(". ")[0]

    pairs = [(random.choice(questions), passage()) for _ in range(1950)]
    odd = [*HARD_TEXTS, *SENTENCES, "\n".join(SENTENCES), " ".join(passages[:8])]
    pairs += [(random.choice(odd + questions), random.choice(odd)) for _ in range(140)]
    return pairs + [(" ".join(questions[:60]), " ".join(passages[n : n + 10])) for n in range(10)]


@pytest.fixture(scope="module", params=MODELS)
def folder(request, checkpoint_of):
    return embedded_checkpoint("cross_encoder") if request.param == "embedded" else checkpoint_of(request.param)


@pytest.fixture(scope="module")
def ours(folder, french_pairs):
    scorer = shared_scorer(ModelSettings(model=str(folder), device="cpu"))
    logits = scorer.score(french_pairs)
    scorer.close()
    return logits


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_scores_equal_sentence_transformers_and_plain_transformers(folder, french_pairs, ours):
    reference = Reference(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    theirs = reference.predict([list(pair) for pair in french_pairs], activation_fn=torch.nn.Sigmoid())
    assert [sigmoid(logit) for logit in ours] == pytest.approx(theirs.tolist(), abs=1e-5)
    assert ours == pytest.approx(plain_transformers(folder, "cpu", 512)(french_pairs), abs=1e-4)


@pytest.mark.slow
@pytest.mark.flagembedding
@pytest.mark.filterwarnings("ignore")  # FlagEmbedding's own
@pytest.mark.skipif(importlib.util.find_spec("FlagEmbedding") is None, reason="FlagEmbedding is not installed")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("folder", ["embedded", "bert"], indirect=True)
def test_logits_equal_flag_embedding(folder, french_pairs, ours):
    """Where it can be compared: on transformers 5 FlagEmbedding turns ids into text again and drops blank passages.

    The tiny Unigram vocabularies do not survive that; their pieces are too few.
    """
    theirs = flag_embedding(folder, "cpu", 512)(french_pairs)
    places = [at for at, logit in enumerate(theirs) if logit is not None]
    assert len(places) >= 1500
    assert [ours[at] for at in places] == pytest.approx([theirs[at] for at in places], abs=1e-4)


@pytest.mark.parametrize("batch_tokens", [64, 100_000])
def test_a_score_does_not_depend_on_the_size_of_the_batch(tiny_model, french_pairs, batch_tokens):
    from fr_reranker_plugin import BatchingScorer, BatchSettings, CrossEncoder

    engine = CrossEncoder.load(ModelSettings(model=tiny_model, device="cpu"))
    some = french_pairs[::25]
    alone = [engine.launch([pair])()[0] for pair in engine.encode(some)]
    with BatchingScorer(engine, BatchSettings(max_batch_tokens=batch_tokens)) as scorer:
        assert scorer.score(some) == pytest.approx(alone, abs=1e-4)


def test_the_embedded_model_keeps_the_scores_that_were_written_down():
    """A change of a library or of the weights shows here first; the file is written anew with new weights."""
    rows = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    scorer = shared_scorer(ModelSettings(model="embedded", device="cpu"))
    logits = scorer.score([(row["query"], row["passage"]) for row in rows])
    scorer.close()
    assert len(rows) == 20
    assert logits == pytest.approx([row["logit"] for row in rows], abs=1e-3)
