"""What each first stage finds, and what reranking makes of it: `python -m benchmarks.first_stage [FOLDER …]`.

For the sample collection and every BEIR folder that is named: BM25, the embedded bi-encoder and both (reciprocal rank
fusion), each alone and with its first passages reranked by the embedded cross-encoder. A passage that the first stage
misses stays missed. Intervals are bootstrapped over the questions.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.machine import machine, provenance
from benchmarks.session import say
from fr_reranker_plugin import DocumentIndex, ModelSettings, SharedEncoder, SharedScorer, StoredDocument
from fr_reranker_plugin.collections import Collection, load_collection, sample_folder
from fr_reranker_plugin.evaluation.ranking_measures import ndcg, reciprocal_rank

RESULT: Final = Path(__file__).parent / "results" / "first-stage.json"
METHODS: Final = ("bm25", "dense", "hybrid")
_CANDIDATES: Final = 100
_DEPTH: Final = 10
_RESAMPLED: Final = 2000

Rankings = dict[str, list[str]]
"""The ids of the passages that were found, best first, by question."""


def search(collection: Collection, encoder: SharedEncoder) -> dict[str, Rankings]:
    """Index the passages and find the best 100 for each question, by every method."""
    with DocumentIndex.create(None, encoder) as index:
        index.add([StoredDocument(name, passage.full_text) for name, passage in collection.corpus.items()])
        questions = list(collection.queries.values())
        return {
            method: {
                query: [hit.document.id for hit in hits]
                for query, hits in zip(
                    collection.queries, index.search_many(questions, _CANDIDATES, method=method), strict=True
                )
            }
            for method in METHODS
        }


def score(
    collection: Collection, found: Mapping[str, Rankings], scorer: SharedScorer, pool: int
) -> dict[tuple[str, str], float]:
    """Score every question with the first `pool` passages of every method, each pair once."""
    logits: dict[tuple[str, str], float] = {}
    for query, text in collection.queries.items():
        names = list(dict.fromkeys(name for rankings in found.values() for name in rankings[query][:pool]))
        pairs = [(text, collection.corpus[name].full_text) for name in names]
        logits |= zip(((query, name) for name in names), scorer.score(pairs, priority="bulk"), strict=True)
    return logits


def reranked(rankings: Rankings, logits: Mapping[tuple[str, str], float], pool: int) -> Rankings:
    """Put the first `pool` passages of each question in the order of their logits; those behind stay there."""
    return {
        query: sorted(names[:pool], key=lambda name, query=query: -logits[query, name]) + names[pool:]  # type: ignore[misc]
        for query, names in rankings.items()
    }


def quality(collection: Collection, rankings: Rankings) -> dict[str, Any]:
    """Give the means over the questions, 0..1, and the 95 % interval of the first."""
    judged = collection.qrels
    gains = np.array([ndcg(names, judged[query], at=_DEPTH) for query, names in rankings.items()])
    ranks = [reciprocal_rank(names, judged[query], at=_DEPTH) for query, names in rankings.items()]
    return {
        f"ndcg@{_DEPTH}": round(float(gains.mean()), 4),
        "interval": [round(bound, 4) for bound in interval(gains)],
        f"mrr@{_DEPTH}": round(float(np.mean(ranks)), 4),
        f"recall@{_CANDIDATES}": round(
            float(np.mean([_recall(names, judged[query]) for query, names in rankings.items()])), 4
        ),
    }


def interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Give the 95 % bootstrap interval of the mean."""
    random = np.random.default_rng(0)
    means = random.choice(values, (_RESAMPLED, len(values))).mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def _recall(names: Sequence[str], grades: Mapping[str, int]) -> float:
    relevant = {name for name, grade in grades.items() if grade > 0}
    return len(relevant & set(names[:_CANDIDATES])) / len(relevant) if relevant else 0.0


def compare(
    collection: Collection, encoder: SharedEncoder, scorer: SharedScorer, pools: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """Give the quality of every method, and of every method with its first passages reranked."""
    found = search(collection, encoder)
    rows = {method: quality(collection, rankings) for method, rankings in found.items()}
    logits = score(collection, found, scorer, max(pools))
    for method, rankings in found.items():
        for pool in pools:
            rows[f"{method} + {pool} reranked"] = quality(collection, reranked(rankings, logits, pool))
    return rows


def table(name: str, questions: int, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Give one collection as Markdown."""
    measures = [measure for measure in next(iter(rows.values())) if measure != "interval"]
    lines = [
        f"## {name}, {questions} questions\n",
        f"| first stage | {' | '.join(measures)} |",
        f"| --- |{' ---: |' * len(measures)}",
    ]
    for method, row in rows.items():
        low, high = row["interval"]
        first, *others = (f"{row[measure]:.3f}" for measure in measures)
        lines.append(f"| {method} | {' | '.join([f'{first} [{low:.3f}, {high:.3f}]', *others])} |")
    return "\n".join(lines) + "\n"


def some_questions(collection: Collection, count: int | None) -> Collection:
    """Keep `count` questions, the same in every run; `None` keeps all."""
    names = list(collection.queries)
    if count is None or count >= len(names):
        return collection
    kept = sorted(np.random.default_rng(0).choice(len(names), count, replace=False))
    return Collection(
        collection.corpus,
        {names[at]: collection.queries[names[at]] for at in kept},
        {names[at]: collection.qrels[names[at]] for at in kept},
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write the table as JSON and Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_stage", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="*", help="BEIR folders beside the sample collection")
    parser.add_argument("--split", default="test", help="of the named folders")
    parser.add_argument("--questions", type=int, help="only so many of each collection, drawn once and for all")
    parser.add_argument("--pools", type=int, nargs="+", default=[20, 50], help="passages that are reranked")
    parser.add_argument("--dtype", default="auto", help="of the cross-encoder")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(argv)
    findings = provenance(list(argv or sys.argv[1:]), module="benchmarks.first_stage") | {"machine": machine("cpu")}
    findings |= {"dtype": options.dtype, "collections": {}}
    tables = []
    encoder = SharedEncoder(ModelSettings(model="embedded"))
    scorer = SharedScorer(ModelSettings(model="embedded", dtype=options.dtype))
    for folder, split in [(sample_folder(), "test"), *((folder, options.split) for folder in options.folders)]:
        collection = some_questions(load_collection(folder, split), options.questions)
        rows = compare(collection, encoder, scorer, options.pools)
        name = f"{folder.name} ({split})"
        findings["collections"][name] = {"questions": len(collection.queries), "rows": rows}
        tables.append(table(name, len(collection.queries), rows))
        say(tables[-1])
        options.out.write_text(json.dumps(findings, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    command = f"`{findings['command']}`, {findings['date']}, commit {findings['commit']}\n"
    options.out.with_suffix(".md").write_text("\n".join(["# First stages\n", command, *tables]), encoding="utf-8")


if __name__ == "__main__":
    main()
