"""Figures of the embedded models, as JSON."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TypeVar

import ir_measures
import numpy as np
import torch
from ir_measures import RR, R, nDCG
from transformers import BertConfig

from candidates import lexical_ranking
from folders import deflated_megabytes, write_json
from fr_reranker_plugin.collections import Collection, Passage, load_collection
from pairs import read_pairs, read_passages
from student import Student
from texts import MAX_TOKENS, Embedder, Ids, load_tokenizer, token_ids

MEASURES = [nDCG @ 10, RR @ 10, R @ 100]
SPLITS = {"piaf": ("dev", "test"), "service_public": ("dev", "test"), "rag_service_public": ("test",)}
# The scale of the first stage's cosine in the cross-encoder's target.
COSINE_TEMPERATURE = 0.02
Ranking = list[tuple[str, float]]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Corpus:
    """The passages of a collection: names, texts, token ids and vectors."""

    names: list[str]
    texts: list[str]
    ids: list[Ids]
    vectors: np.ndarray


@dataclass(frozen=True, slots=True)
class FirstStage:
    """The 100 best passages per query, by the bi-encoder and by BM25."""

    queries: list[str]
    query_ids: list[Ids]
    passage_ids: dict[str, Ids]
    dense: list[Ranking]
    lexical: list[Ranking]


class Retriever:
    """The first stage over one collection, whatever the split."""

    def __init__(self, model: Path, corpus: Mapping[str, Passage], device: str) -> None:
        """Embed the passages."""
        self._tokenizer, self._embedder = load_tokenizer(model), Embedder(model, device=device)
        texts = [passage.full_text for passage in corpus.values()]
        ids = token_ids(self._tokenizer, texts)
        self._corpus = Corpus(list(corpus), texts, ids, self._embedder.embed(ids, "passage"))

    def retrieve(self, collection: Collection, queries: int | None) -> FirstStage:
        """Rank the passages for (at most `queries` of) the queries, both ways."""
        asked = _sample(list(collection.queries), queries)
        words, names = [collection.queries[q] for q in asked], self._corpus.names
        query_ids = token_ids(self._tokenizer, words)
        cosine = self._embedder.embed(query_ids, "query") @ self._corpus.vectors.T
        best = np.argsort(-cosine, axis=1, kind="stable")[:, :100]
        dense = [[(names[i], float(row[i])) for i in top] for row, top in zip(cosine, best, strict=True)]
        lexical = [
            [(names[i], float(s)) for i, s in zip(top, scores, strict=True)]
            for top, scores in zip(*lexical_ranking(self._corpus.texts, words), strict=True)
        ]
        return FirstStage(asked, query_ids, dict(zip(names, self._corpus.ids, strict=True)), dense, lexical)


def first_stages(
    options: argparse.Namespace, model: Path, queries: int | None
) -> Iterator[tuple[str, Collection, FirstStage]]:
    """Yield the label, the collection and the first stage of every split."""
    for name, splits in SPLITS.items():
        collections = {split: load_collection(options.data / name, split) for split in splits}
        retriever = Retriever(model, collections[splits[0]].corpus, options.device)
        for split, collection in collections.items():
            yield f"{name}:{split}", collection, retriever.retrieve(collection, queries)


def rerank(stage: FirstStage, student: Student, *, depth: int, tokens: int) -> list[Ranking]:
    """Score the first `depth` of the dense ranking with the cross-encoder, at most `tokens` per pair."""
    pairs = [
        (query, stage.passage_ids[name][: tokens - 4 - len(query)])
        for query, ranking in zip(stage.query_ids, stage.dense, strict=True)
        for name, _ in ranking[:depth]
    ]
    scores = iter(student.score(pairs, workers=os.cpu_count() or 1).tolist())
    return [[(name, next(scores)) for name, _ in ranking[:depth]] for ranking in stage.dense]


def fuse(dense: list[Ranking], reranked: list[Ranking]) -> list[Ranking]:
    """Add the first stage's cosine, on the scale it was taught in, to the logit."""
    cosine = [dict(ranking) for ranking in dense]
    return [
        [(name, score + first[name] / COSINE_TEMPERATURE) for name, score in ranking]
        for first, ranking in zip(cosine, reranked, strict=True)
    ]


def figures(collection: Collection, queries: Sequence[str], rankings: list[Ranking]) -> dict[str, float]:
    """Return the measures, times 100, over the given queries."""
    run = {q: dict(ranking) for q, ranking in zip(queries, rankings, strict=True)}
    qrels = {q: dict(collection.qrels[q]) for q in queries}
    return {str(m): round(100 * value, 2) for m, value in ir_measures.calc_aggregate(MEASURES, qrels, run).items()}


def measure_cross_encoder(options: argparse.Namespace) -> dict[str, object]:
    """BM25, dense, both reranked, and the fused ranking, on every split."""
    layers = BertConfig.from_pretrained(options.model).num_hidden_layers
    student = Student(options.model, layers=layers, frozen=layers - 1, device=options.device)
    result: dict[str, object] = {"depth": options.depth, "tokens": options.tokens, "layers": layers}
    for label, collection, stage in first_stages(options, options.bi_encoder, options.queries):
        reranked = rerank(stage, student, depth=options.depth, tokens=options.tokens)
        rankings = {"bm25": stage.lexical, "dense": stage.dense, "dense_reranked": reranked}
        rankings["dense_reranked_fused"] = fuse(stage.dense, reranked)
        split_figures = {k: figures(collection, stage.queries, r) for k, r in rankings.items()}
        result[label] = {"queries": len(stage.queries)} | split_figures
        print(label, result[label], flush=True)
    return result | {"pairs:dev": rank_positives(options, student)}


def rank_positives(options: argparse.Namespace, student: Student) -> dict[str, float]:
    """Measure RR, times 100, of the positive among its BM25 negatives, for dev pairs of the training sources."""
    asked = _sample([pair for pair in read_pairs(options.data, "dev") if pair.negatives], options.queries)
    passages, tokenizer = read_passages(options.data), load_tokenizer(options.model)
    names = list(dict.fromkeys(name for pair in asked for name in (pair.positive, *pair.negatives)))
    ids = dict(zip(names, token_ids(tokenizer, [passages[n]["full_text"] for n in names]), strict=True))
    queries = token_ids(tokenizer, [pair.query for pair in asked])
    embedder = Embedder(options.bi_encoder, device=options.device)
    vectors = dict(zip(names, embedder.embed(list(ids.values()), "passage"), strict=True))
    ranks: dict[str, list[float]] = {"dense": [], "cross_encoder": []}
    for pair, query, vector in zip(asked, queries, embedder.embed(queries, "query"), strict=True):
        candidates = (pair.positive, *pair.negatives)
        texts = [(query, ids[name][: options.tokens - 4 - len(query)]) for name in candidates]
        scores = {"dense": np.array([vectors[name] @ vector for name in candidates])}
        scores["cross_encoder"] = student.score(texts, workers=os.cpu_count() or 1)
        for kind, values in scores.items():
            ranks[kind].append(1 / (1 + int((values[1:] > values[0]).sum())))
    return {"queries": len(asked)} | {kind: round(100 * float(np.mean(rr)), 2) for kind, rr in ranks.items()}


def measure_bi_encoder(options: argparse.Namespace) -> dict[str, object]:
    """How much of the original is left: unchanged passages, cosines, and the retrieval figures."""
    old, new = load_tokenizer(options.original), load_tokenizer(options.model)
    result: dict[str, object] = {"pieces": new.get_vocab_size(), "original_pieces": old.get_vocab_size()}
    changed: list[str] = []
    for name, texts in held_out_texts(options.data).items():
        different = [t for t in texts if old.encode(t).tokens != new.encode(t).tokens]
        share = round(100 * (1 - len(different) / len(texts)), 2)
        result[f"unchanged:{name}"] = {"passages": len(texts), "percent": share}
        changed += different
    same = _sample([t for texts in held_out_texts(options.data).values() for t in texts], options.queries or 200)
    result["cosine_changed_vocabulary"] = cosine_to_original(options, _sample(changed, options.queries or 200))
    result["cosine_unchanged_vocabulary"] = cosine_to_original(options, [t for t in same if t not in set(changed)])
    for label, collection, stage in first_stages(options, options.model, None):
        result[label] = figures(collection, stage.queries, stage.dense)
    return result


def held_out_texts(data: Path) -> dict[str, list[str]]:
    """Return French passages that the choice of the vocabulary has not seen."""
    documents = {pair.document for pair in read_pairs(data, "dev")}
    passages = [p["full_text"] for p in read_passages(data).values() if p["doc"] in documents]
    wikipedia = [load_collection(data / "piaf", split) for split in ("dev", "test")]
    judged = dict.fromkeys(chain.from_iterable(q for c in wikipedia for q in c.qrels.values()))
    administration = load_collection(data / "rag_service_public").corpus.values()
    return {
        "pairs_dev": passages,
        "piaf_dev_test": [wikipedia[0].corpus[i].full_text for i in judged],
        "service_public": [p.full_text for p in administration],
    }


def cosine_to_original(options: argparse.Namespace, texts: list[str]) -> dict[str, float]:
    """Compare: cosines between the original's vectors and ours, in fp32."""
    vectors = [
        Embedder(folder, device=options.device, dtype=torch.float32).embed(
            token_ids(load_tokenizer(folder), texts), "passage"
        )
        for folder in (options.original, options.model)
    ]
    cosine = (vectors[0] * vectors[1]).sum(1)
    return {"passages": len(texts), "mean": round(float(cosine.mean()), 6), "least": round(float(cosine.min()), 6)}


def _sample(items: list[Item], count: int | None) -> list[Item]:
    if count is None or count >= len(items):
        return items
    chosen = np.random.default_rng(0).choice(len(items), count, replace=False)
    return [items[i] for i in sorted(chosen)]


def main() -> None:
    """Measure one model and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["bi_encoder", "cross_encoder"])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--original", type=Path, help="the untrimmed bi-encoder (for bi_encoder)")
    parser.add_argument("--bi-encoder", type=Path, help="the first stage (for cross_encoder)")
    parser.add_argument("--depth", type=int, default=50, help="passages to rerank per query")
    parser.add_argument("--tokens", type=int, default=MAX_TOKENS, help="of one pair, at most")
    parser.add_argument("--queries", type=int, help="at most so many queries per split, or passages to compare")
    parser.add_argument("--machine", default="not stated", help="a line about the machine")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(1 if options.kind == "cross_encoder" else torch.get_num_threads())
    measured = measure_bi_encoder(options) if options.kind == "bi_encoder" else measure_cross_encoder(options)
    about = {
        "date": date.today().isoformat(),
        "machine": options.machine,
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers", "ir_measures", "bm25s")},
        "command": shlex.join(["python", *sys.argv]),
        "seed": 0,
        "deflated_megabytes": deflated_megabytes(options.model),
    }
    write_json(options.out, about | {"figures": measured})


if __name__ == "__main__":
    main()
