"""A million candidates need no more memory than a few."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from collections.abc import Iterator
from pathlib import Path
from fr_reranker_plugin.collections import open_files
from fr_reranker_plugin.evaluation.database import EvaluationDatabase
from fr_reranker_plugin.evaluation.evaluation import Evaluation, EvaluationSettings
from fr_reranker_plugin.evaluation.latency import peak_memory
from fr_reranker_plugin.evaluation.results import measure_all
from fr_reranker_plugin.evaluation.thresholds import measured_curve
from fr_reranker_plugin.scoring.scorer import Logits
import ir_measures, numpy, scipy.stats

def invented(blocks):
    for block in blocks:
        yield block, Logits([float(len(text)) for _, text in block.pairs])

def evaluate(folder, queries):
    lists, corpus = folder / "run.trec", folder / "corpus.tsv"
    with lists.open("w") as run:
        for query in range(queries):
            for place in range(1000):
                run.write(f"{query} Q0 {(query * 37 + place) % 2000} {place + 1} {-place} x\\n")
    corpus.write_text("".join(f"{one}\\tpassage {one}\\n" for one in range(2000)))
    (folder / "queries.tsv").write_text("".join(f"{one}\\tquestion {one}\\n" for one in range(queries)))
    (folder / "qrels").write_text("".join(f"{one} 0 {one % 2000} 1\\n" for one in range(queries)))
    collection = open_files(
        corpus=corpus, queries=folder / "queries.tsv", qrels=folder / "qrels", candidates=lists, name="x"
    )
    with EvaluationDatabase(folder / "evaluation.sqlite", collection) as database:
        evaluation = Evaluation(collection, database, EvaluationSettings(pools=(None,), measures=("RR@10", "R@500")))
        evaluation.add_stage("given", collection.candidates)
        evaluation.fill_texts()
        evaluation.score("model", invented, lambda _: None)
        rows = list(measure_all(evaluation, {"model": "model"}))
        assert len(rows) == 2 and evaluation.truncated("model").pairs == 1000 * queries
        measured_curve(evaluation, "given", "model")

folder = Path(sys.argv[1])
for name, queries in (("few", 20), ("many", 1000)):
    (folder / name).mkdir()
    evaluate(folder / name, queries)
    print(peak_memory())
"""
_ALLOWED = 200 * 2**20


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read from the system's own counter")
def test_a_million_candidates_add_less_than_200_mb(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], env=dict(os.environ), capture_output=True, text=True,
        timeout=290, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    few, many = map(int, done.stdout.split())
    assert many - few < _ALLOWED
