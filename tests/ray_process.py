"""A cluster on this machine in a process of its own, whose workers and replicas are killed; prints what was seen."""

import json
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from time import monotonic

import httpx
import ray
import yaml
from ray import serve
from ray.serve.schema import ServeDeploySchema

from fr_reranker_plugin import ModelSettings, SettingsError, SharedScorer, rank_by_score
from fr_reranker_plugin.bulk import BulkSettings, DataSet, by_ray, by_scorer, rank_data_set
from fr_reranker_plugin.scoring.ray_workers import RayCluster
from fr_reranker_plugin.serving import ray_app
from ray_children import ray_processes

CLIENTS, REQUESTS, BEFORE = 6, 40, 12
TIMEOUT = 60
never = threading.Event()


def replicas_alive() -> list[int]:
    return ray_processes("ray::ServeReplica")


def wait_until(condition) -> None:
    end = monotonic() + TIMEOUT
    while not condition():
        assert monotonic() < end, "the condition did not come about"
        never.wait(0.05)


def rank_with_a_killed_worker(model: str, data_set: Path, folder: Path) -> dict:
    inner = by_ray(ModelSettings(model=model), None, RayCluster(workers=2))
    killed = []

    def score(blocks, windows):
        for found in inner(blocks, windows):
            if not killed:
                killed.append(ray_processes("ray::Worker")[0])
                os.kill(killed[0], signal.SIGKILL)
            yield found

    scorer = SharedScorer(ModelSettings(model=model))
    settings = BulkSettings(on_error="skip", checkpoint_every=12)
    options = {"model": "tiny", "settings": settings}
    clustered = rank_data_set(DataSet(data_set), folder / "clustered", score, **options)
    alone = rank_data_set(DataSet(data_set), folder / "alone", by_scorer(scorer), **options)
    scorer.close()
    return {"clustered": asdict(clustered), "alone": asdict(alone), "killed": len(killed)}


def serve_with_a_killed_replica(model: str, port: int) -> dict:
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(ray_app.app(ray_app.ReplicaArguments(model=model, min_replicas=2, max_replicas=2)))
    url = f"http://127.0.0.1:{port}"
    bodies = [
        {"query": f"question {n}", "texts": [f"texte {n} {k} " + "long " * 60 for k in range(60)]}
        for n in range(REQUESTS)
    ]
    answered, lock, failures, kill = [], threading.Lock(), [], []

    def ask(body: dict) -> list[dict]:
        end = monotonic() + TIMEOUT
        while monotonic() < end:
            began = monotonic()
            try:
                answer = httpx.post(f"{url}/rerank", json=body, timeout=TIMEOUT)
            except httpx.HTTPError as error:
                failures.append((began, repr(error)))
                continue
            if answer.status_code == 200:
                with lock:
                    answered.append(1)
                return answer.json()
            failures.append((began, answer.status_code))
        raise AssertionError("no answer")

    replicas = replicas_alive()
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = [pool.submit(ask, body) for body in bodies]
        wait_until(lambda: len(answered) >= BEFORE)
        os.kill(replicas[0], signal.SIGKILL)
        wait_until(lambda: replicas[0] not in replicas_alive())
        kill.append(monotonic())
        found = [answer.result(TIMEOUT) for answer in answers]
    after = monotonic()
    wait_until(lambda: len(replicas_alive()) == 2 and replicas[0] not in replicas_alive())
    wait_until(lambda: all(one.state == "RUNNING" for one in deployment_replicas()))
    return {
        "replicas": len(replicas),
        "wrong": differing(model, bodies, found),
        "failures": [str(what) for _, what in failures],
        "begun_after_the_kill": sum(began > kill[0] for began, _ in failures),
        "answered_while_one_was_dead": len(answered) - BEFORE,
        "ready": httpx.get(f"{url}/ready", timeout=TIMEOUT).status_code,
        "seconds_to_recover": monotonic() - after,
    }


def deployment_replicas() -> list:
    from ray.serve.context import _get_global_client

    details = _get_global_client().get_serve_details()
    found = details["applications"]["default"]["deployments"][ray_app.NAME]["replicas"]
    return [type("Replica", (), one) for one in found]


def differing(model: str, bodies: list[dict], found: list[list[dict]]) -> int:
    scorer = SharedScorer(ModelSettings(model=model))
    wrong = 0
    for body, answer in zip(bodies, found, strict=True):
        alone = rank_by_score(scorer.score([(body["query"], text) for text in body["texts"]]))
        expected = {one.index: one.score for one in alone}
        wrong += len(answer) != len(expected) or any(
            abs(one["score"] - expected[one["index"]]) > 1e-5 for one in answer
        )
    scorer.close()
    return wrong


def check_the_example(path: Path) -> dict:
    config = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text()))
    [application] = config.applications
    arguments = ray_app.ReplicaArguments.model_validate(application.args)
    module, _, name = application.import_path.rpartition(":")
    [parameter] = signature(getattr(ray_app, name)).parameters.values()
    deployment = application.deployments[0].name
    return {
        "import_path": module == ray_app.__name__,
        "read_by_ray": parameter.annotation is ray_app.ReplicaArguments,
        "deployment": deployment == ray_app.NAME,
        "min_replicas": arguments.min_replicas,
    }


def refused(**arguments) -> str:
    try:
        ray_app.app(ray_app.ReplicaArguments(**arguments))
    except (SettingsError, ValueError) as error:
        return str(error)
    return "nothing was refused"


if __name__ == "__main__":
    model, data_set, folder, port, example = sys.argv[1:]
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    seen = {
        "example": check_the_example(Path(example)),
        "refused": [refused(modell="x"), refused(dtype="float16", max_texts=0), refused(max_replicas=9)],
        "data_set": rank_with_a_killed_worker(model, Path(data_set), Path(folder)),
        "serve": serve_with_a_killed_replica(model, int(port)),
    }
    serve.shutdown()
    ray.shutdown()
    sys.stdout.write("\n" + json.dumps(seen) + "\n")
