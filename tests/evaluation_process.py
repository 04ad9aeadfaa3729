"""An evaluation in a process of its own, which kills itself when so many blocks are kept."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from fr_reranker_plugin import ModelSettings, SharedScorer
from fr_reranker_plugin.collections import open_collection
from fr_reranker_plugin.evaluation.evaluate import Plan, evaluated
from fr_reranker_plugin.evaluation.evaluation import Block, EvaluationSettings, ScoreBlocks
from fr_reranker_plugin.evaluation.first_stages import FirstStages
from fr_reranker_plugin.evaluation.pair_scoring import by_scorer
from fr_reranker_plugin.evaluation.report import as_report
from fr_reranker_plugin.scoring.scorer import Logits


def run(model: str, collection: str, folder: Path, kept: Path, *, blocks_to_live: int | None) -> dict:
    """Evaluate, note every pair that is kept, and give the report without what depends on the day.

    One block at a time, so that the batches are the same, and with them the last bits of every logit.
    """

    def elsewhere(settings: ModelSettings) -> ScoreBlocks:
        scorer = SharedScorer(settings)

        def score(blocks: Iterator[Block]) -> Iterator[tuple[Block, Logits]]:
            for number, (block, logits) in enumerate(by_scorer(scorer, in_flight=1)(blocks), start=1):
                yield block, logits
                with kept.open("a", encoding="utf-8") as file:
                    file.writelines(f"{query} {passage}\n" for query, passage in block.places)
                if number == blocks_to_live:
                    os.kill(os.getpid(), signal.SIGKILL)
            scorer.close()

        return score

    plan = Plan(
        collection=open_collection(collection),
        models=(ModelSettings(model=model),),
        first_stages=FirstStages(names=("bm25",)),
        settings=EvaluationSettings(pools=(3, 6), checkpoint_every=1),
        threshold_curve=True,
        score_elsewhere=elsewhere,
    )
    with evaluated(plan, folder) as measured:
        report = as_report(measured)
    del report["today"]
    return report


if __name__ == "__main__":
    model, collection, folder, kept, blocks = sys.argv[1:]
    found = run(model, collection, Path(folder), Path(kept), blocks_to_live=int(blocks) or None)
    sys.stdout.write(json.dumps(found))
