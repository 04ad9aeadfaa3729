"""Scoring on a Ray cluster: workers that each hold a copy of the model, and may die.

Actors rather than Ray Data: the pairs come from one process, which alone reads its input and writes what it keeps, and
only a few blocks may be under way; Ray Data wants its input in files that its workers read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from fr_reranker_plugin.errors import MissingDependencyError, RerankerError, ScoringError, SettingsError
from fr_reranker_plugin.scoring.long_documents import WindowSettings, reading
from fr_reranker_plugin.scoring.row_scoring import score_rows
from fr_reranker_plugin.scoring.scorer import Logits, Pair
from fr_reranker_plugin.scoring.settings import BatchSettings, ModelSettings, check_whole_number

_BLOCKS_PER_WORKER: Final = 2
_RETRIES: Final = 3
"""How often a worker that died is started again, and a block it had is tried again."""

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True, kw_only=True)
class RayCluster:
    """Where the workers run.

    :param workers: How many hold a copy of the model. `None`: one for each GPU of the cluster, or else each node
        that has CPUs.
    :param address: Of a running cluster, as `ray.init` takes it. `None`: one is started on this machine, and stopped.
    :raises SettingsError: If `workers` is not a whole number of at least 1.
    """

    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None:
            check_whole_number("workers", self.workers)


def score_on_ray(
    blocks: Iterable[tuple[Key, Sequence[Sequence[Pair]]]],
    model: ModelSettings,
    batch: BatchSettings | None,
    cluster: RayCluster,
    *,
    windows: WindowSettings | None = None,
) -> Generator[tuple[Key, list[Logits | ScoringError]], None, None]:
    """Score blocks of rows on the workers of a cluster, each of which holds a copy of the model.

    A worker that dies is started again, and what it was scoring is scored again; nothing else is lost. Blocks are taken
    as workers become free, and come back in any order.

    :param blocks: Any key, and rows of pairs; see `score_rows`.
    :param model: Loaded on every worker: a folder must be there under the same path. With GPUs each worker gets one,
        unless the model is for a CPU (`device="cpu"`, or ONNX Runtime). The dtype is the one of this machine.
    :param windows: How long passages are read; `None` leaves their ends out.
    :raises MissingDependencyError: If Ray is not installed.
    :raises ScoringError: If a worker dies too often, or its model cannot be loaded.
    :raises SettingsError: If the cluster cannot be reached, or has no room for so many workers.
    """
    ray = _ray()
    with _connected(ray, cluster):
        workers = _workers(ray, cluster, model, batch, windows)
        waiting: dict[Any, tuple[Key, int]] = {}
        for key, rows in blocks:
            if len(waiting) >= _BLOCKS_PER_WORKER * len(workers):
                yield _first_done(ray, waiting)
            busy = [worker for _, worker in waiting.values()]
            free = min(range(len(workers)), key=busy.count)
            waiting[workers[free].score.remote(rows)] = (key, free)
        while waiting:
            yield _first_done(ray, waiting)


class Worker:
    """Holds the model on one node or one GPU."""

    def __init__(self, model: ModelSettings, batch: BatchSettings | None, windows: WindowSettings | None) -> None:
        from fr_reranker_plugin.scoring.shared import SharedScorer

        self._scorer = reading(SharedScorer(model, batch), windows)

    def score(self, rows: Sequence[Sequence[Pair]]) -> list[Logits | ScoringError]:
        """Score rows of pairs; see `score_rows`."""
        return asyncio.run(score_rows(self._scorer, rows))


def worker_settings(model: ModelSettings, *, on_gpus: bool) -> ModelSettings:
    """Give what a worker loads: the model on its own device, in the dtype that it has on this machine.

    Logits are kept under that dtype. A worker that chose for itself might choose another one, and a run that goes on
    would mix the two.
    """
    from fr_reranker_plugin.scoring.loading import resolve_settings

    return replace(model, dtype=resolve_settings(model).dtype, device="cuda" if on_gpus else model.device)


def cpus_per_worker(nodes: Sequence[int], workers: int) -> int:
    """Give the most CPUs that each worker can have with all of them running; 0 if there is no room for all.

    :param nodes: The CPUs of each node; a worker runs on one node.
    """
    sizes = range(max(nodes, default=0), 0, -1)
    return next((size for size in sizes if sum(cpus // size for cpus in nodes) >= workers), 0)


@dataclass(frozen=True, slots=True)
class Room:
    """How many copies of a model a cluster has room for.

    :param copies: One for each GPU, or else each node that has CPUs; as many as were asked for, if that was said.
    :param gpus: GPUs of each: 1, or 0 where none is used.
    :param cpus: CPUs of each where no GPU is used: as many as leave room for all.
    """

    copies: int
    gpus: int
    cpus: int


def room_for(model: ModelSettings, nodes: Iterable[dict[str, float]], copies: int | None = None) -> Room:
    """Tell how copies of a model are laid out over a cluster.

    :param nodes: The resources of each node, as Ray names them.
    :param copies: How many there shall be; `None`: as many as there is room for.
    :raises SettingsError: If there is no room for so many.
    """
    resources = list(nodes)
    cpus = [int(has["CPU"]) for has in resources if has.get("CPU", 0) >= 1]
    for_cpus = model.backend == "onnx" or model.devices == ("cpu",)
    gpus = 0 if for_cpus else sum(int(has.get("GPU", 0)) for has in resources)
    count = copies or gpus or len(cpus) or 1
    if gpus and count > gpus:
        raise SettingsError(f"the cluster has {gpus} GPUs, one for each copy of the model; got workers={count}")
    each = 1 if gpus else cpus_per_worker(cpus, count)
    if not each:
        raise SettingsError(
            f"the cluster has {sum(cpus)} CPUs, at least one for each copy of the model; got workers={count}"
        )
    return Room(count, gpus=int(gpus > 0), cpus=0 if gpus else each)


def nodes_of(ray: Any) -> list[dict[str, float]]:  # noqa: ANN401 -- Ray has no types
    """Give the resources of each node of the cluster that this process is connected to."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _workers(
    ray: Any,  # noqa: ANN401 -- as above
    cluster: RayCluster,
    model: ModelSettings,
    batch: BatchSettings | None,
    windows: WindowSettings | None,
) -> list[Any]:
    room = room_for(model, nodes_of(ray), cluster.workers)
    needs = {"num_gpus": 1} if room.gpus else {"num_cpus": room.cpus}
    actor = ray.remote(Worker).options(max_restarts=_RETRIES, max_task_retries=_RETRIES, **needs)
    settings = worker_settings(model, on_gpus=room.gpus > 0)
    return [actor.remote(settings, batch, windows) for _ in range(room.copies)]


def _first_done(ray: Any, waiting: dict[Any, tuple[Key, int]]) -> tuple[Key, list[Logits | ScoringError]]:  # noqa: ANN401 -- as above
    (done, *_), _ = ray.wait(list(waiting), num_returns=1)
    key, _ = waiting.pop(done)
    try:
        return key, ray.get(done)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, RerankerError):
            raise error.cause from error
        raise ScoringError(f"a worker failed: {str(error.cause)[:300]}") from error
    except ray.exceptions.RayActorError as error:
        raise ScoringError(
            f"a worker died {_RETRIES + 1} times, or its model cannot be loaded; what was scored before is kept. "
            f"Ray says: {str(error)[:600]}"
        ) from error


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
        raise MissingDependencyError("scoring on a cluster needs Ray: pip install 'fr-reranker-plugin[ray]'") from error
    return ray
