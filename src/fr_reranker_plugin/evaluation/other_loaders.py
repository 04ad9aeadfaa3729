"""The same checkpoint in the libraries that model cards name: what our logits are compared with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fr_reranker_plugin.errors import MissingDependencyError
from fr_reranker_plugin.scoring.loading import load_config, load_weights
from fr_reranker_plugin.scoring.scorer import Pair
from fr_reranker_plugin.scoring.settings import ModelSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Score = Callable[[Sequence[Pair]], Sequence[float | None]]
"""Gives one float32 logit per pair, in order; `None` where the library reads a pair otherwise than all others."""

Load = Callable[[Path, str, int], Score]
"""Loads a checkpoint, given its folder, a device and the longest pair in tokens."""

_BATCH: Final = 16


def plain_transformers(folder: Path, device: str, max_length: int) -> Callable[[Sequence[Pair]], list[float]]:
    """Load a checkpoint as model cards do with transformers alone; batches are of like lengths.

    :raises ModelLoadError: If the weights cannot be read.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    settings = ModelSettings(model=str(folder), device=device, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = load_weights(AutoModelForSequenceClassification, folder, load_config(folder), settings)

    def score(pairs: Sequence[Pair]) -> list[float]:
        by_length = sorted(range(len(pairs)), key=lambda at: len(pairs[at][0]) + len(pairs[at][1]))
        logits = [0.0] * len(pairs)
        for start in range(0, len(pairs), _BATCH):
            places = by_length[start : start + _BATCH]
            features = tokenizer(
                [pairs[at][0] for at in places],
                [pairs[at][1] for at in places],
                padding=True,
                truncation=True,
                max_length=max_length,
                return_tensors="pt",
            ).to(device)
            with torch.inference_mode():
                found: list[float] = model(**features).logits.view(-1).tolist()
            for at, logit in zip(places, found, strict=True):
                logits[at] = logit
        return logits

    return score


def sentence_transformers(folder: Path, device: str, max_length: int) -> Score:
    """Load a checkpoint as a `CrossEncoder` of sentence-transformers; `predict` without its activation.

    :raises MissingDependencyError: If it is not installed.
    """
    _check_installed("sentence_transformers", "'fr-reranker-plugin[train]'")
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(
        str(folder),
        device=device,
        max_length=max_length,
        local_files_only=True,
        model_kwargs={"dtype": torch.float32},
    )

    def score(pairs: Sequence[Pair]) -> list[float]:
        logits = model.predict(list(pairs), activation_fn=torch.nn.Identity(), show_progress_bar=False)
        return [float(logit) for logit in logits]

    return score


def flag_embedding(folder: Path, device: str, max_length: int) -> Score:
    """Load a checkpoint as a `FlagReranker` of FlagEmbedding; `compute_score` without normalising.

    :raises MissingDependencyError: If it is not installed.
    """
    _check_installed("FlagEmbedding", "FlagEmbedding")
    from FlagEmbedding import FlagReranker
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    reranker = FlagReranker(str(folder), use_fp16=False, devices=device, max_length=max_length)
    reranker.model.float()  # it takes the dtype that the configuration names
    logging.getLogger("transformers").setLevel(logging.ERROR)  # it asks the tokenizer in a way that draws a warning

    def score(pairs: Sequence[Pair]) -> list[float | None]:
        places = [at for at, pair in enumerate(pairs) if _reads_alike(tokenizer, pair, max_length)]
        logits: list[float | None] = [None] * len(pairs)
        if places:
            found = reranker.compute_score([list(pairs[at]) for at in places], normalize=False)
            for at, logit in zip(places, found, strict=True):
                logits[at] = float(logit)
        return logits

    return score


def transformers_tokens(folder: Path, pairs: Sequence[Pair], max_length: int) -> list[tuple[list[int], list[int]]]:
    """Give token ids and type ids of each pair as transformers makes them; no type ids where the model has none."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    features = [
        tokenizer(query, passage, truncation=True, max_length=max_length, return_attention_mask=False)
        for query, passage in pairs
    ]
    return [(one["input_ids"], one.get("token_type_ids", [])) for one in features]


def survives_decoding(tokenizer: PreTrainedTokenizerBase, text: str) -> bool:
    """Tell whether a text has tokens, and the text made from them has the same ones.

    On transformers 5 FlagEmbedding turns ids into text again and tokenises that; it also drops blank passages.
    """
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    again = tokenizer(tokenizer.decode(ids, clean_up_tokenization_spaces=False), add_special_tokens=False)["input_ids"]
    return len(ids) > 0 and again == ids


def _reads_alike(tokenizer: PreTrainedTokenizerBase, pair: Pair, max_length: int) -> bool:
    """Tell whether FlagEmbedding reads a pair as the others do; it also cuts long pairs by another rule."""
    fits = len(tokenizer(*pair)["input_ids"]) <= max_length
    return fits and all(survives_decoding(tokenizer, text) for text in pair)


def _check_installed(module: str, package: str) -> None:
    if find_spec(module) is None:
        raise MissingDependencyError(f"not installed: pip install {package}")
