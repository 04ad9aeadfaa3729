"""The server on Ray Serve: as many replicas as there is work for, behind one address.

`serve run fr_reranker_plugin.serving.ray_app:app model=embedded max_replicas=4` starts it; examples/ray/serve.yaml is
for a cluster that runs already. No annotation is postponed here: Ray looks at that of `app` to read the arguments.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, PositiveInt

from fr_reranker_plugin.errors import DeviceLostError, MissingDependencyError
from fr_reranker_plugin.scoring.long_documents import LongDocuments
from fr_reranker_plugin.scoring.ray_workers import Room, nodes_of, room_for
from fr_reranker_plugin.scoring.settings import EMBEDDED, Backend, BatchSettings, DType, ModelSettings
from fr_reranker_plugin.scoring.shared import SharedScorer
from fr_reranker_plugin.serving.app import create_app
from fr_reranker_plugin.serving.door import Door
from fr_reranker_plugin.serving.keys import ApiKeys
from fr_reranker_plugin.serving.logs import log_as_json
from fr_reranker_plugin.serving.settings import ServerSettings

try:
    import ray
    from ray import serve
except ImportError as error:
    raise MissingDependencyError(
        "fr_reranker_plugin.serving.ray_app needs Ray Serve: pip install 'fr-reranker-plugin[ray,serve]'"
    ) from error

NAME: Final = "fr-reranker"
"""The name of the deployment, for a configuration file."""

_MOST_ONGOING: Final = 1000
_LOAD_ATTEMPTS: Final = 3
_HEALTH_PERIOD: Final = 5.0


class ReplicaArguments(BaseModel):
    """What may stand behind `serve run …:app`, or under `args` of a configuration file.

    Those that `fr-reranker serve` has too mean the same; files are read by each replica, on its own node.

    :param min_replicas: Replicas that are kept without any work.
    :param max_replicas: Most replicas. `None`: one for each GPU, or else each node of the cluster that the process is
        connected to; 1 if it is not connected to any.
    :param ongoing_requests: Requests for each replica that replicas are added or taken away for.
    :param cpus: CPUs that Ray counts for a replica, and threads of one that computes on them. `None`: 1 beside a GPU;
        else as many as leave room for `max_replicas`, or 1 if the process is not connected to a cluster.
    :param gpus: GPUs of a replica. `None`: 1 where the cluster, or else this machine, has some that the model may use.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = EMBEDDED
    revision: str | None = None
    device: str | None = None
    dtype: DType = "auto"
    backend: Backend = "auto"
    max_length: int | None = None
    max_batch_tokens: int | None = None
    local_files_only: bool = False
    index: Path | None = None
    keys_file: Path | None = None
    max_texts: int = 1000
    max_body_mib: PositiveInt = 4
    max_waiting_pairs: int = 4096
    request_timeout: float = 300.0
    grace_period: float = 30.0
    long_documents: LongDocuments = "truncate"
    window_overlap: int = 64
    min_replicas: PositiveInt = 1
    max_replicas: PositiveInt | None = None
    ongoing_requests: PositiveFloat = 16.0
    cpus: PositiveFloat | None = None
    gpus: NonNegativeFloat | None = None

    def scorer(self) -> SharedScorer:
        """Give the scorer of one replica; nothing is loaded yet.

        :raises SettingsError: If a value is not allowed.
        """
        batch = BatchSettings(max_batch_tokens=self.max_batch_tokens, max_waiting_pairs=self.max_waiting_pairs)
        return SharedScorer(self.model_settings(), batch)

    def model_settings(self) -> ModelSettings:
        """Give the settings of the cross-encoder.

        :raises SettingsError: If a value is not allowed.
        """
        return ModelSettings(
            model=self.model,
            revision=self.revision,
            device=self.device,
            dtype=self.dtype,
            backend=self.backend,
            max_length=self.max_length,
            local_files_only=self.local_files_only,
        )

    def server_settings(self) -> ServerSettings:
        """Give the limits of requests, without the keys: those never leave the node that reads them.

        :raises SettingsError: If a value is not allowed.
        """
        return ServerSettings(
            max_texts=self.max_texts,
            max_body_bytes=self.max_body_mib << 20,
            request_timeout=self.request_timeout,
            grace_period=self.grace_period,
            long_documents=self.long_documents,
            window_overlap=self.window_overlap,
        )


class Replica:
    """One process with one copy of the model; batches are formed by its scorer, out of all requests that it has.

    :ivar app: The application, which Ray Serve puts there.
    """

    app: FastAPI

    async def check_health(self) -> None:
        """Raise if this replica can answer no more. The first call waits for the model: no request comes before.

        :raises DeviceLostError: If no copy of the model is left.
        :raises ModelLoadError: If the model could not be loaded.
        """
        door: Door = self.app.state.door
        await door.readiness.settled()
        if door.readiness.failure is not None:
            raise door.readiness.failure
        health = door.scorer.health()
        if health is not None and not health.is_ready:
            raise DeviceLostError("no copy of the model can answer any more; a new replica is needed")


def app(arguments: ReplicaArguments) -> serve.Application:
    """Make the application for `serve run` and configuration files.

    :raises SettingsError: If a value is not allowed, or the cluster has no room for so many replicas.
    """
    arguments.scorer()
    arguments.server_settings()

    def application() -> FastAPI:
        log_as_json()
        keys_file = arguments.keys_file
        keys = ApiKeys.from_environment() if keys_file is None else ApiKeys.from_file(keys_file)
        return create_app(arguments.scorer(), replace(arguments.server_settings(), keys=keys), index=arguments.index)

    deployed = serve.deployment(name=NAME, **_options(arguments))(serve.ingress(application)(Replica))
    bound: serve.Application = deployed.bind()
    return bound


build = app
"""The same, by the name that Ray's own examples use."""


def _options(arguments: ReplicaArguments) -> dict[str, Any]:
    room = _room(arguments)
    gpus = room.gpus if arguments.gpus is None else arguments.gpus
    return {
        "autoscaling_config": {
            "min_replicas": arguments.min_replicas,
            "max_replicas": arguments.max_replicas or max(room.copies, arguments.min_replicas),
            "target_ongoing_requests": arguments.ongoing_requests,
        },
        "ray_actor_options": {"num_cpus": arguments.cpus or (1 if gpus else room.cpus or 1), "num_gpus": gpus},
        "max_ongoing_requests": _MOST_ONGOING,  # the scorer's own queue refuses first, and says when to come again
        "max_queued_requests": _MOST_ONGOING,
        "graceful_shutdown_timeout_s": arguments.grace_period,
        "health_check_period_s": _HEALTH_PERIOD,
        "max_constructor_retry_count": _LOAD_ATTEMPTS,
    }


def _room(arguments: ReplicaArguments) -> Room:
    """Give what a replica may have. Replicas on GPUs may outnumber those of today: the cluster may grow."""
    nodes, model = _nodes(arguments.max_replicas or 1), arguments.model_settings()
    room = room_for(model, nodes)
    known = room.gpus > 0 or arguments.cpus is not None
    return room if known else room_for(model, nodes, arguments.max_replicas)


def _nodes(replicas: int) -> list[dict[str, float]]:
    """Give the nodes; `serve run` asks before it connects, and then GPUs are those of this machine."""
    if ray.is_initialized():
        return nodes_of(ray)
    import torch

    return [{"CPU": replicas, "GPU": torch.cuda.device_count()}]
