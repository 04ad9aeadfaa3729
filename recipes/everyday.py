"""Everyday questions: each written for one passage, beside sibling passages that hold no answer."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from candidates import LONG, TrainingSet, score_candidates
from texts import Embedder, token_ids

# The siblings of an answer were written to be near misses: the label says more than that of a mined negative.
WRITTEN_BOOST = 3.0


@dataclass(frozen=True, slots=True)
class Written:
    """Passages, and questions with the position of the passage that answers."""

    passages: list[str]
    questions: list[str]
    answers: list[int]


def read_written(path: Path, passages: Mapping[str, Mapping[str, str]]) -> Written:
    """Read lines of `questions` with their `passage`, or with the `id` of one of `passages`."""
    written = Written([], [], [])
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            written.questions.extend(row["questions"])
            written.answers.extend([len(written.passages)] * len(row["questions"]))
            written.passages.append(row.get("passage") or passages[row["id"]]["full_text"])
    return written


def everyday_set(written: Written, tokenizer: Tokenizer, embedder: Embedder, rng: np.random.Generator) -> TrainingSet:
    """Score the candidates of each question by the bi-encoder alone: few words are shared with the answer."""
    queries = token_ids(tokenizer, written.questions)
    passages = [text[:LONG] for text in token_ids(tokenizer, written.passages)]
    answers = np.array(written.answers)
    no_words = np.zeros((len(queries), 1), int), np.zeros((len(queries), 1))  # BM25 names one passage, and gives it 0
    candidates, scores = score_candidates(
        answers, embedder.embed(queries, "query"), embedder.embed(passages, "passage"), no_words, rng
    )
    scores[:, 0] += WRITTEN_BOOST
    return TrainingSet(queries, passages, candidates, scores, np.ones((2, len(queries))))


def joined(first: TrainingSet, second: TrainingSet, share: float) -> TrainingSet:
    """Put two sets together, so that `share` of the draws come from the second."""
    shifted = np.where(second.candidates < 0, -1, second.candidates + len(first.passages))
    weights = [
        one.weights / one.weights.sum(1, keepdims=True) * part for one, part in ((first, 1 - share), (second, share))
    ]
    return TrainingSet(
        first.queries + second.queries,
        first.passages + second.passages,
        np.concatenate([first.candidates, shifted.astype(np.int32)]),
        np.concatenate([first.scores, second.scores]),
        np.concatenate(weights, axis=1),
    )
