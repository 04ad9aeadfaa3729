"""What a faster variant costs in ranking quality: `python -m benchmarks.fidelity RESULT.json FOLDER …`.

The candidates of each question are the 100 best passages by BM25, with those that are judged relevant. Every variant of
ours reranks them with the embedded cross-encoder; nDCG@10 is compared with that of fp32.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import bm25s
import numpy as np
import Stemmer

from benchmarks.contenders import Contender, contenders
from benchmarks.models import EMBEDDED, checkpoint
from benchmarks.ours import Ours
from fr_reranker_plugin.collections import Collection, load_collection
from fr_reranker_plugin.evaluation.agreement import kendall_tau
from fr_reranker_plugin.evaluation.ranking_measures import ndcg, reciprocal_rank

_DEPTH: Final = 10
_POINTS: Final = 100


def candidates(collection: Collection, count: int) -> dict[str, list[str]]:
    """Give the ids of the passages to rerank for each question: the best by BM25, and the relevant ones."""
    stemmer, names = Stemmer.Stemmer("french"), list(collection.corpus)
    index = bm25s.BM25()
    texts = [passage.full_text for passage in collection.corpus.values()]
    index.index(bm25s.tokenize(texts, stemmer=stemmer, show_progress=False), show_progress=False)
    asked = bm25s.tokenize(list(collection.queries.values()), stemmer=stemmer, show_progress=False)
    found, _ = index.retrieve(asked, k=min(count, len(names)), show_progress=False)
    return {
        query: list(dict.fromkeys([*(names[at] for at in row),
                                   *(name for name, grade in collection.qrels[query].items() if grade > 0)]))
        for query, row in zip(collection.queries, np.asarray(found), strict=True)
    }  # fmt: skip


def rerank(scoring: Ours, collection: Collection, pools: dict[str, list[str]]) -> dict[str, list[float]]:
    """Give the logits of each question's candidates."""
    return {
        query: scoring.score([(collection.queries[query], collection.corpus[name].full_text) for name in pool])
        for query, pool in pools.items()
    }


def quality(collection: Collection, pools: dict[str, list[str]], logits: dict[str, list[float]]) -> dict[str, float]:
    """Give the means of nDCG@10 and MRR@10 over the questions, 0..1."""
    gains, ranks = [], []
    for query, pool in pools.items():
        ranking = [pool[at] for at in np.argsort(-np.asarray(logits[query]), kind="stable")]
        gains.append(ndcg(ranking, collection.qrels[query], at=_DEPTH))
        ranks.append(reciprocal_rank(ranking, collection.qrels[query], at=_DEPTH))
    return {"ndcg": float(np.mean(gains)), "mrr": float(np.mean(ranks))}


def compare(
    collection: Collection, variants: Sequence[Contender], *, device: str, count: int, questions: int | None
) -> dict[str, Any]:
    """Measure every variant that loads; the first must be fp32, with which the others are compared."""
    pools = dict(list(candidates(collection, count).items())[:questions])
    found: dict[str, Any] = {}
    exact: dict[str, list[float]] = {}
    for variant in variants:
        try:
            scoring = Ours(str(checkpoint(EMBEDDED)), device=device, **variant.options)
        except Exception as error:  # noqa: BLE001 -- a variant may be refused here; the others go on
            found[variant.name] = {"error": f"{type(error).__name__}: {error}"[:300]}
            continue
        logits = rerank(scoring, collection, pools)
        scoring.close()
        exact = exact or logits
        found[variant.name] = quality(collection, pools, logits) | {
            "questions": len(pools),
            "kendall_tau": float(np.mean([kendall_tau(exact[query], logits[query]) for query in pools])),
            "greatest_logit_difference": max(
                float(np.abs(np.subtract(exact[query], logits[query])).max()) for query in pools
            ),
        }
        found[variant.name]["lost_points"] = _POINTS * (
            next(one for one in found.values() if "ndcg" in one)["ndcg"] - found[variant.name]["ndcg"]
        )
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and add the findings to a result file (which is made if there is none)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity", description=__doc__)
    parser.add_argument("result", type=Path, help="the JSON file to add to")
    parser.add_argument("folders", type=Path, nargs="+", help="BEIR folders")
    parser.add_argument("--split", default="test")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--candidates", type=int, default=100, help="passages per question, by BM25")
    parser.add_argument("--questions", type=int, help="only so many questions of each collection")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these variants; 'ours fp32' must be among them")
    options = parser.parse_args(argv)
    findings = json.loads(options.result.read_text(encoding="utf-8")) if options.result.is_file() else {}
    wanted = options.only
    variants = [one for one in contenders(options.device) if one.is_ours and (wanted is None or one.name in wanted)]
    for folder in options.folders:
        found = compare(load_collection(folder, options.split), sorted(variants, key=lambda one: not one.exact),
                        device=options.device, count=options.candidates, questions=options.questions)  # fmt: skip
        findings.setdefault("fidelity", {})[f"{folder.name}/{options.split}"] = found
        findings.setdefault("command", "python -m benchmarks.fidelity " + " ".join(argv or sys.argv[1:]))
        options.result.write_text(json.dumps(findings, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        sys.stdout.write(f"{folder.name}: {json.dumps(found, indent=1)}\n")


if __name__ == "__main__":
    main()
