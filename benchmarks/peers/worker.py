"""A peer in an interpreter of its own: reads requests as JSON lines, answers as JSON lines.

The first line is `{"factory": "module:Class", "options": {…}}`; each later one is
`{"id": 1, "pairs": [[question, passage]]}` and gets `{"id": 1, "scores": […]}` or `{"id": 1, "error": "…"}`.
Requests run at the same time. It needs the standard library and whatever the peer needs, nothing of ours.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, TextIO


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer until the input ends."""
    lock = threading.Lock()

    def answer(message: dict[str, Any]) -> None:
        with lock:
            answers.write(json.dumps(message) + "\n")
            answers.flush()

    wanted = json.loads(requests.readline())
    module, _, name = wanted["factory"].partition(":")
    try:
        peer = getattr(import_module(module), name)(**wanted["options"])
    except Exception as error:  # noqa: BLE001 -- the other side reports it
        answer({"id": 0, "error": f"{type(error).__name__}: {error}"})
        return
    answer({"id": 0, "versions": _versions()})

    def score(request: dict[str, Any]) -> None:
        """Give one logit per pair, in order."""
        try:
            scores = peer.score([tuple(pair) for pair in request["pairs"]])
            answer({"id": request["id"], "scores": scores, "counted": getattr(peer, "counted", None)})
        except Exception as error:  # noqa: BLE001 -- the other side reports it
            answer({"id": request["id"], "error": f"{type(error).__name__}: {error}"})

    with ThreadPoolExecutor(256) as pool:
        for line in requests:
            pool.submit(score, json.loads(line))


def _versions() -> dict[str, str]:
    from importlib.metadata import distributions

    wanted = {"torch", "transformers", "sentence-transformers", "infinity-emb", "openvino", "ctranslate2", "numpy"}
    return {one.name: one.version for one in distributions() if one.name in wanted}


if __name__ == "__main__":
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not get between the answers
    serve(sys.stdin, pipe)
    pipe.flush()
    os._exit(0)  # threads of an engine may hang at the end; nobody waits for them
