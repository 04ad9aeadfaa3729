"""The embedded cross-encoder: taught from the bi-encoder, by the first stage's scores and by labels together."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig

from candidates import TrainingSet, build_training_set
from everyday import everyday_set, joined, read_written
from folders import save_model, save_tokenizer
from pairs import read_pairs, read_passages
from student import Student
from texts import Embedder, load_tokenizer
from training import Schedule, train

REPORT_EVERY = 50


def save_cross_encoder(folder: Path, weights: dict[str, torch.Tensor], source: Path, *, bits: int) -> None:
    """Write the whole folder but its model card.

    :param source: A model folder with the same vocabulary, for the configuration and the tokenizer.
    """
    layers = 1 + max(int(n.split(".")[3]) for n in weights if n.startswith("bert.encoder.layer."))
    config = BertConfig.from_pretrained(source, num_labels=1, num_hidden_layers=layers)
    config.architectures = ["BertForSequenceClassification"]
    save_model(folder, weights, config, bits=bits)
    save_tokenizer(folder, load_tokenizer(source))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--bi-encoder", type=Path, required=True, help="folder of the bi-encoder to start from")
    parser.add_argument("--data", type=Path, required=True, help="folder of the French collections and pairs")
    parser.add_argument("--start", type=Path, help="cross-encoder to continue with; default: the bi-encoder")
    parser.add_argument("--everyday", type=Path, help="questions written for this recipe (everyday.jsonl.gz)")
    parser.add_argument("--share", type=float, default=0.6, help="share of these questions among all that are drawn")
    parser.add_argument("--steps", type=int, default=1300, help="of 64 pairs each")
    parser.add_argument("--rate", type=float, default=1.2e-4, help="highest learning rate")
    parser.add_argument("--decay", type=float, default=0.4, help="share of the steps over which the rate falls")
    parser.add_argument("--layers", type=int, default=8, help="lower encoder layers to keep")
    parser.add_argument("--frozen", type=int, default=3, help="how many of these do not learn")
    parser.add_argument("--bits", type=int, default=5, help="mantissa bits to keep")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def training_data(options: argparse.Namespace) -> TrainingSet:
    """Choose and score the candidates of the labelled pairs, and of the everyday questions beside them."""
    passages, tokenizer = read_passages(options.data), load_tokenizer(options.bi_encoder)
    embedder = Embedder(options.bi_encoder, device=options.device)
    pairs = read_pairs(options.data, "train")
    data = build_training_set(pairs, passages, tokenizer, embedder, np.random.default_rng(options.seed))
    if not options.everyday:
        return data
    written = read_written(options.everyday, passages)
    return joined(data, everyday_set(written, tokenizer, embedder, np.random.default_rng(options.seed)), options.share)


def main() -> None:
    """Choose and score candidates, train, save."""
    options = arguments()
    torch.manual_seed(options.seed)
    data = training_data(options)
    start = options.start or options.bi_encoder
    student = Student(start, layers=options.layers, frozen=options.frozen, device=options.device)
    if not options.start:
        student.initialise_head()
    schedule = Schedule(steps=options.steps, rate=options.rate, decay=options.decay)
    workers = 1 if options.device.startswith("cuda") else os.cpu_count() or 1
    torch.set_num_threads(1)
    for progress in train(student, data, schedule, seed=options.seed, workers=workers):
        if progress.step % REPORT_EVERY == 0:
            print(progress, flush=True)
    save_cross_encoder(options.out, student.weights(), options.bi_encoder, bits=options.bits)
    print(f"{options.out}: {progress}")


if __name__ == "__main__":
    main()
