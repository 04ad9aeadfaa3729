"""The near end of `worker.py`: a peer in another interpreter, used like any other."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from typing import Any, Final

_REPOSITORY: Final = Path(__file__).parents[2]
_LOADING: Final = 300.0
_CLOSING: Final = 20.0


class Piped:
    """A peer that cannot share our environment, behind a pipe; texts and scores cost it less than a millisecond.

    :param python: The interpreter that has what the peer needs.
    :param factory: `module:Class` of the peer.
    :param options: The arguments of its constructor.
    :raises RuntimeError: If the peer cannot be made; with its own message.
    """

    def __init__(self, python: str, factory: str, options: Mapping[str, Any]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 -- the interpreter that was named on the command line
            [python, "-m", "benchmarks.peers.worker"],
            cwd=_REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._promised: dict[int, Future[dict[str, Any]]] = {0: Future()}
        self.counted: tuple[float, float] | None = None
        ready = self._promised[0]
        self._send({"factory": factory, "options": dict(options)})
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self.versions: dict[str, str] = ready.result(_LOADING)["versions"]
        except BaseException:
            self._process.kill()
            raise

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Give one logit per pair, in order."""
        promise: Future[dict[str, Any]] = Future()
        with self._lock:
            number = next(self._numbers)
            self._promised[number] = promise
        self._send({"id": number, "pairs": list(pairs)})
        answer = promise.result()
        self.counted = answer["counted"] and tuple(answer["counted"])
        scores: list[float] = answer["scores"]
        return scores

    def close(self) -> None:
        """Let go of the model."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_CLOSING)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._process.stdin is None:
            raise RuntimeError("the peer has no input")
        with self._lock:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            answer = json.loads(line)
            promise = self._promised.pop(answer["id"])
            if "error" in answer:
                promise.set_exception(RuntimeError(answer["error"]))
            else:
                promise.set_result(answer)
        for promise in self._promised.values():
            if not promise.done():
                promise.set_exception(RuntimeError("the peer's process ended"))
