"""What a developer would write in an afternoon: a queue, a thread, and `predict` over whatever waits."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final

from benchmarks.peers.cross_encoder_predict import Predict

_MOST_PAIRS: Final = 128


class MicroBatcher:
    """Requests that wait are joined, up to 128 pairs, and scored by one `CrossEncoder.predict`.

    It has no waiting window and sorts by length inside the joined batch; it knows no priorities, no cancelling, and an
    error fails everybody in the batch.
    """

    def __init__(self, folder: str, *, device: str, dtype: str = "float32") -> None:
        self._model = Predict(folder, device=device, dtype=dtype)
        self._waiting: queue.SimpleQueue[tuple[list[tuple[str, str]], Future[list[float]]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Give one logit per pair, in order."""
        future: Future[list[float]] = Future()
        self._waiting.put((list(pairs), future))
        return future.result()

    def close(self) -> None:
        """Let go of the model."""
        self._waiting.put(None)

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            while sum(len(pairs) for pairs, _ in batch) < _MOST_PAIRS and not self._waiting.empty():
                if (item := self._waiting.get()) is None:
                    self._waiting.put(None)
                    break
                batch.append(item)
            try:
                scores = self._model.score([pair for pairs, _ in batch for pair in pairs])
            except Exception as error:  # noqa: BLE001 -- whatever happened belongs to the callers
                for _, future in batch:
                    future.set_exception(error)
                continue
            for pairs, future in batch:
                future.set_result(scores[: len(pairs)])
                scores = scores[len(pairs) :]
