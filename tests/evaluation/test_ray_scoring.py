"""A cluster gives the same logits as one process, whatever happens to its workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import small_collections as small

pytest.importorskip("ray")

TESTS = Path(__file__).parents[1]
SCRIPT = """
import os, signal, sys
from pathlib import Path
import ray
from fr_reranker_plugin import ModelSettings, SharedScorer
from fr_reranker_plugin.collections import open_collection
from fr_reranker_plugin.evaluation.evaluate import Plan, evaluated
from fr_reranker_plugin.evaluation.evaluation import EvaluationSettings
from fr_reranker_plugin.evaluation.first_stages import FirstStages
from fr_reranker_plugin.evaluation.ray_scoring import by_ray
from fr_reranker_plugin.scoring.ray_workers import RayCluster
from ray_children import ray_processes

model, collection, folder = ModelSettings(model=sys.argv[1]), sys.argv[2], Path(sys.argv[3])
kill = sys.argv[4] == "kill"
scored = 0

def elsewhere(settings):
    inner = by_ray(settings, None, RayCluster(workers=2))
    def score(blocks):
        global scored
        for number, found in enumerate(inner(blocks)):
            if kill and number == 0:
                dying = ray_processes("ray::Worker")
                assert dying
                os.kill(dying[0], signal.SIGKILL)
            scored += len(found[0].pairs)
            yield found
    return score

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
plan = Plan(collection=open_collection(collection), models=(model,), first_stages=FirstStages(names=("bm25",)),
            settings=EvaluationSettings(pools=(6,), checkpoint_every=1), score_elsewhere=elsewhere)
with evaluated(plan, folder) as measured:
    facts = next(iter(measured.models.values()))
    evaluation = measured.evaluation
    known = {(query, one): logit for query in evaluation.collection.queries
             for one, logit in evaluation.logits(facts.key, query).items()}
assert scored == len(known) > 40, (scored, len(known))
with evaluated(plan, folder):
    assert scored == len(known)
texts = {one: passage.full_text for one, passage in plan.collection.passages()}
scorer = SharedScorer(model)
alone = scorer.score([(plan.collection.queries[query], texts[one]) for query, one in known])
assert max(abs(mine - theirs) for mine, theirs in zip(alone, known.values())) < 1e-5
scorer.close()
ray.shutdown()
print("the same")
"""


UNEQUAL = """
import sys
import ray
from ray.cluster_utils import Cluster
from fr_reranker_plugin import ModelSettings
from fr_reranker_plugin.evaluation.evaluation import Block
from fr_reranker_plugin.evaluation.ray_scoring import by_ray
from fr_reranker_plugin.scoring.ray_workers import RayCluster

store = 80 * 2**20
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "object_store_memory": store})
try:
    cluster.add_node(num_cpus=1, object_store_memory=store)
    cluster.wait_for_nodes(timeout=60)
    blocks = (Block([(str(at), "p")], [("Où est la mairie ?", f"Passage {at}")]) for at in range(8))
    score = by_ray(ModelSettings(model=sys.argv[1]), None, RayCluster(address=cluster.address))
    assert sorted(block.places[0][0] for block, _ in score(blocks)) == list("01234567")
    assert not ray.is_initialized()
finally:
    cluster.shutdown()
print("all of them")
"""


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize("fate", ["live", "kill"])
def test_two_workers_score_as_one_process_even_if_one_is_killed(fate: str, tiny_model: str, tmp_path: Path) -> None:
    collection = str(small.write_beir(tmp_path / "beir"))
    assert _last_line(SCRIPT, tiny_model, collection, str(tmp_path / "out"), fate) == "the same"


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_nodes_of_unequal_size_all_get_a_worker_that_fits(tiny_model: str) -> None:
    assert _last_line(UNEQUAL, tiny_model) == "all of them"


def _last_line(script: str, *arguments: str) -> str:
    """Run in a process of its own: Ray opens sockets that tests are not allowed to."""
    ours = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "PYTHONPATH": str(TESTS)}
    environment = {**os.environ, **ours}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment, capture_output=True, text=True, timeout=270, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split("\n")[-2]
