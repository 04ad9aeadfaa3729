"""What an evaluation costs beside bare scoring: `python -m benchmarks.evaluation`.

Both score the same pairs of the sample collection (the first 20 passages of each question by BM25) with the embedded
cross-encoder, and take turns: one bulk request to the scorer, and an evaluation with its candidates, checkpoints and
texts in a database, in a new folder each time. Loading the model and finding the candidates are not counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from benchmarks.machine import machine, provenance
from benchmarks.rounds import Timed, interleaved, spread
from benchmarks.session import say
from fr_reranker_plugin import ModelSettings, SharedScorer
from fr_reranker_plugin.collections import JudgedCollection, open_collection
from fr_reranker_plugin.evaluation.database import EvaluationDatabase
from fr_reranker_plugin.evaluation.evaluation import Evaluation, EvaluationSettings
from fr_reranker_plugin.evaluation.first_stages import bm25_candidates
from fr_reranker_plugin.evaluation.pair_scoring import by_scorer

RESULT: Final = Path(__file__).parent / "results" / "evaluation.json"
LEAST_RATIO: Final = 0.95
_POOL: Final = 20
_MODEL: Final = "embedded"


def prepared(collection: JudgedCollection, database: EvaluationDatabase) -> Evaluation:
    """Give an evaluation that knows its candidates and has scored none of them."""
    evaluation = Evaluation(collection, database, EvaluationSettings(pools=(_POOL,)))
    evaluation.add_stage("bm25", lambda: bm25_candidates(collection, _POOL))
    evaluation.fill_texts()
    return evaluation


def compare(scorer: SharedScorer, collection: JudgedCollection, *, rounds: int) -> dict[str, Any]:
    """Time both in turns; the ratio is that of their speeds, 1 where an evaluation costs nothing beside the scoring."""
    passages = {name: passage.full_text for name, passage in collection.passages()}
    pairs = [(collection.queries[one.query], passages[one.passage]) for one in bm25_candidates(collection, _POOL)]

    def bare(_: int) -> Timed:
        start = perf_counter()
        scorer.score(pairs, priority="bulk")
        return Timed(perf_counter() - start, [], [])

    def evaluated(_: int) -> Timed:
        with (
            tempfile.TemporaryDirectory() as folder,
            EvaluationDatabase(Path(folder) / "evaluation.sqlite", collection) as database,
        ):
            evaluation = prepared(collection, database)
            start = perf_counter()
            evaluation.score(_MODEL, by_scorer(scorer), lambda _: None)
            return Timed(perf_counter() - start, [], [])

    seconds: dict[str, list[float]] = {"scorer": [], "evaluation": []}
    loads = []
    for _, name, took, load in interleaved({"scorer": bare, "evaluation": evaluated}, rounds=rounds, on_error=_raise):
        seconds[name].append(took.seconds)
        loads.append(load)
    ratios = [alone / within for alone, within in zip(seconds["scorer"], seconds["evaluation"], strict=True)]
    return {
        "pairs": len(pairs),
        "seconds": seconds,
        "load_average": loads,
        "pairs_per_second": {
            name: spread([len(pairs) / one for one in all_])._asdict() for name, all_ in seconds.items()
        },
        "ratio": spread(ratios)._asdict(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write the result file; 1 if the gate is missed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--questions", type=int, default=67)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    collection = open_collection("sample").sample(options.questions)
    with closing(SharedScorer(ModelSettings(model=_MODEL, dtype=options.dtype))) as scorer:
        scorer.warm_up()
        found = compare(scorer, collection, rounds=options.rounds)
    findings = provenance(arguments, module="benchmarks.evaluation") | {"machine": machine("cpu")} | found
    options.out.write_text(json.dumps(findings, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    say(json.dumps({name: found[name] for name in ("pairs_per_second", "ratio")}))
    return int(found["ratio"]["median"] < LEAST_RATIO)


def _raise(_: str, error: Exception) -> None:
    raise error


if __name__ == "__main__":
    sys.exit(main())
