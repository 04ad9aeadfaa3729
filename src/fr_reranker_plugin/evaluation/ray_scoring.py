"""Scoring the pairs of an evaluation on a Ray cluster.

Actors rather than Ray Data: the blocks come out of the evaluation's database, one after the other, which this process
alone reads and writes, and only a few may be under way; Ray Data wants its input in files that its workers read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from fr_reranker_plugin.errors import MissingDependencyError, RerankerError, ScoringError, SettingsError
from fr_reranker_plugin.evaluation.evaluation import Block, ScoreBlocks
from fr_reranker_plugin.scoring.scorer import Logits, Pair
from fr_reranker_plugin.scoring.settings import BatchSettings, ModelSettings, check_whole_number

_BLOCKS_PER_WORKER: Final = 2
_RETRIES: Final = 3
"""How often a worker that died is started again, and a block it had is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayCluster:
    """Where the workers run.

    :param workers: How many hold a copy of the model. `None`: one for each GPU of the cluster, or else each node.
    :param address: Of a running cluster, as `ray.init` takes it. `None`: one is started on this machine, and stopped.
    :raises SettingsError: If `workers` is not a whole number of at least 1.
    """

    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None:
            check_whole_number("workers", self.workers)


def by_ray(model: ModelSettings, batch: BatchSettings | None, cluster: RayCluster) -> ScoreBlocks:
    """Score blocks on the workers of a cluster, each of which holds a copy of the model.

    A worker that dies is started again, and what it was scoring is scored again; nothing else is lost.

    :param model: Loaded on every worker: a folder must be there under the same path. With GPUs each worker gets one,
        whatever `device` says.
    :raises MissingDependencyError: If Ray is not installed.
    """
    ray = _ray()

    def score(blocks: Iterator[Block]) -> Iterator[tuple[Block, Logits]]:
        with _connected(ray, cluster):
            workers = _workers(ray, model, batch, cluster)
            waiting: dict[Any, tuple[Block, int]] = {}
            for block in blocks:
                if len(waiting) >= _BLOCKS_PER_WORKER * len(workers):
                    yield _first_done(ray, waiting)
                busy = [worker for _, worker in waiting.values()]
                free = min(range(len(workers)), key=busy.count)
                waiting[workers[free].score.remote(block.pairs)] = (block, free)
            while waiting:
                yield _first_done(ray, waiting)

    return score


class Worker:
    """Holds the model on one node or one GPU."""

    def __init__(self, model: ModelSettings, batch: BatchSettings | None) -> None:
        from fr_reranker_plugin.scoring.shared import SharedScorer

        self._scorer = SharedScorer(model, batch)

    def score(self, pairs: list[Pair]) -> tuple[list[float], tuple[int, ...]]:
        """Give the logits of pairs, and the positions of those that were cut."""
        logits = self._scorer.score(pairs, priority="bulk")
        return list(logits), logits.truncated


def _workers(ray: Any, model: ModelSettings, batch: BatchSettings | None, cluster: RayCluster) -> list[Any]:  # noqa: ANN401 -- Ray's handles have no types
    resources = ray.cluster_resources()
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    count = cluster.workers or gpus or sum(bool(node["Alive"]) for node in ray.nodes())
    if gpus and count > gpus:
        raise SettingsError(f"the cluster has {gpus} GPUs, one for each worker; got workers={count}")
    needs = {"num_gpus": 1} if gpus else {"num_cpus": max(1, cpus // count)}
    if not gpus and count > cpus:
        raise SettingsError(f"the cluster has {cpus} CPUs, at least one for each worker; got workers={count}")
    actor = ray.remote(Worker).options(max_restarts=_RETRIES, max_task_retries=_RETRIES, **needs)
    settings = replace(model, device="cuda") if gpus else model
    return [actor.remote(settings, batch) for _ in range(count)]


def _first_done(ray: Any, waiting: dict[Any, tuple[Block, int]]) -> tuple[Block, Logits]:  # noqa: ANN401 -- as above
    (done, *_), _ = ray.wait(list(waiting), num_returns=1)
    block, _ = waiting.pop(done)
    try:
        logits, truncated = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, RerankerError):
            raise error.cause from error
        raise ScoringError(f"a worker failed: {str(error.cause)[:300]}") from error
    except ray.exceptions.RayActorError as error:
        raise ScoringError(
            f"a worker died {_RETRIES + 1} times, or its model cannot be loaded; what was scored before is kept. "
            f"Ray says: {str(error)[:600]}"
        ) from error
    return block, Logits(logits, truncated=truncated)


@contextmanager
def _connected(ray: Any, cluster: RayCluster) -> Iterator[None]:  # noqa: ANN401 -- as above
    """Use the cluster that the process is connected to already, or connect, and disconnect afterwards."""
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"address": cluster.address}
    if cluster.address is None:
        options = {"address": "local", "include_dashboard": False}
    try:
        ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SettingsError(f"Ray does not reach {cluster.address or 'a cluster of its own'}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _ray() -> Any:  # noqa: ANN401 -- the module
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "scoring on a cluster needs Ray: pip install 'fr-reranker-plugin[evaluate,ray]'"
        ) from error
    return ray
