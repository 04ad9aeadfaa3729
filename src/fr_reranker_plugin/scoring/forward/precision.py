"""Build the forward pass of a model in the arithmetic that was asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

from fr_reranker_plugin.collections import load_collection, sample_folder
from fr_reranker_plugin.scoring.forward import bfloat16_product
from fr_reranker_plugin.scoring.forward.attention import choose_attention
from fr_reranker_plugin.scoring.forward.int8 import Int8Products
from fr_reranker_plugin.scoring.forward.products import (
    ObservedProducts,
    Products,
    assemble,
    float_products,
    split_products,
)

if TYPE_CHECKING:
    import torch

    from fr_reranker_plugin.scoring.forward.attention import Attention
    from fr_reranker_plugin.scoring.forward.batch import PackedBatch
    from fr_reranker_plugin.scoring.forward.encoder import PackedForward
    from fr_reranker_plugin.scoring.forward.encoder_weights import EncoderWeights
    from fr_reranker_plugin.scoring.scorer import Pair

logger = logging.getLogger(__name__)

_CALIBRATION_PAIRS: Final = 48
_COMPARED_PAIRS: Final = 8
_INDISTINGUISHABLE: Final = 2e-5
"""Largest difference in logits, on the compared pairs, that passes for float32: a fifth of what the docs promise."""


Batches = Callable[["Iterable[Pair]"], "Iterable[PackedBatch]"]
"""Tokenises pairs and lays them out."""


def build_forward(weights: EncoderWeights, dtype: str, device: torch.device, batches: Batches) -> PackedForward:
    """Assemble the encoder.

    :param dtype: A resolved dtype of `ModelSettings`.
    :param batches: Lays out the French pairs on which the model is tried.
    """
    words = weights.embeddings.words
    attention = choose_attention(device, words.dtype, words.shape[1] // weights.heads)
    if dtype == "int8":
        products: Products = _int8_products(weights, attention, batches(calibration_pairs()))
        return assemble(weights, products, attention)
    forward = assemble(weights, float_products(device.type, dtype), attention)
    if dtype == "float32" and device.type == "cpu" and bfloat16_product.is_available():
        split = assemble(weights, split_products(), attention)
        if _differ_by(forward, split, batches(islice(calibration_pairs(), _COMPARED_PAIRS))) <= _INDISTINGUISHABLE:
            return split
        logger.info("this model is sensitive to the 17th bit; its products stay in plain float32, which is slower here")
    return forward


def calibration_pairs() -> Iterator[Pair]:
    """Yield French pairs of the sample collection: questions, each with a passage that answers it and one by chance."""
    collection = load_collection(sample_folder())
    passages = list(collection.corpus.values())
    for number, (query, judged) in enumerate(list(collection.qrels.items())[: _CALIBRATION_PAIRS // 2]):
        best = max(judged, key=judged.__getitem__)
        for passage in (collection.corpus[best], passages[number * 5 % len(passages)]):
            yield collection.queries[query], passage.full_text


def _differ_by(one: PackedForward, other: PackedForward, batches: Iterable[PackedBatch]) -> float:
    """Give the largest difference between the logits of two forward passes."""
    import torch

    with torch.inference_mode():
        return max(float((one(batch) - other(batch)).abs().max()) for batch in batches)


def _int8_products(weights: EncoderWeights, attention: Attention, batches: Iterable[PackedBatch]) -> Int8Products:
    """Measure the ranges of every product's inputs on `batches`."""
    import torch

    observed = ObservedProducts(float_products("cpu", "float32"))
    forward = assemble(weights, observed, attention)
    with torch.inference_mode():
        for batch in batches:
            forward(batch)
    return Int8Products(observed.limits, torch.bfloat16 if bfloat16_product.has_tile_units() else torch.float32)
