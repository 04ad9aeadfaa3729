"""A handle on a live model: what `SharedScorer` and `SharedEncoder` have in common."""

from __future__ import annotations

import asyncio
import threading
import weakref
from abc import ABC, abstractmethod
from concurrent.futures import Future
from functools import partial
from typing import Generic

from fr_reranker_plugin.scoring.metrics import Health, Snapshot
from fr_reranker_plugin.scoring.registry import REGISTRY, Key, Live, release_later
from fr_reranker_plugin.scoring.settings import BatchSettings, ModelSettings


class SharedModel(ABC, Generic[Live]):
    """Holds the live batcher of a model from the first use to `close`; using a closed handle opens it again.

    :param model: Which model. Handles whose settings load the same share it: `None` and `"auto"` count as what they
        stand for, a folder as its full path, and `local_files_only` not at all. Only `max_length=None` counts as
        different from the number that it comes to, which stands in the model.
    :param batch: Bounds of batch and queue. The first handle of a model decides; a later difference is logged.
    """

    _kind: type[Live]

    def __init__(self, model: ModelSettings, batch: BatchSettings | None = None) -> None:
        self.model = model
        self.batch = batch or BatchSettings()
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._loading: Future[Live] | None = None
        self._held: Live | None = None
        self._forgotten: weakref.finalize[[Key], SharedModel[Live]] | None = None

    @staticmethod
    @abstractmethod
    def _load(model: ModelSettings, batch: BatchSettings) -> Live:
        """Load the model, given resolved settings."""

    @property
    def is_warm(self) -> bool:
        """Whether the handle holds a loaded model."""
        return self._held is not None

    def warm_up(self) -> None:
        """Load the model unless it is loaded; safe from many threads, which then wait for one load.

        :raises ModelLoadError: If it cannot be loaded; nothing is kept, and a later call tries again.
        """
        self._live()

    async def awarm_up(self) -> None:
        """Load the model unless it is loaded, without blocking the event loop."""
        await self._alive()

    def snapshot(self) -> Snapshot | None:
        """Counters of the live model, over all its callers; `None` while the handle is cold."""
        held = self._held
        return None if held is None else held.snapshot()

    def health(self) -> Health | None:
        """Tell whether the live model can answer; `None` while the handle is cold."""
        held = self._held
        return None if held is None else held.health()

    def close(self) -> None:
        """Let go of the model; the last handle's `close` answers what is queued and frees the memory."""
        with self._lock:
            self._held = None
            if self._forgotten is not None and (forgotten := self._forgotten.detach()) is not None:
                _, _, (key,), _ = forgotten
                REGISTRY.release(key)

    def _live(self) -> Live:
        held = self._held
        if held is not None:
            return held
        with self._lock:
            if self._held is None:
                key, self._held = REGISTRY.acquire(self._kind, self.model, self.batch, self._load)
                self._forgotten = weakref.finalize(self, release_later, key)
                self._forgotten.atexit = False
            return self._held

    async def _alive(self) -> Live:
        held = self._held
        return held if held is not None else await asyncio.wrap_future(self._under_way())

    def _under_way(self) -> Future[Live]:
        """Load in a thread of its own, once for all who wait: the event loop has few, which others want."""
        with self._starting:
            if self._loading is None:
                loading: Future[Live] = Future()
                loading.set_running_or_notify_cancel()  # so that who leaves does not cancel it for the others
                threading.Thread(target=self._load_for, args=(loading,), name="fr-reranker-loading").start()
                self._loading = loading
            return self._loading

    def _load_for(self, loading: Future[Live]) -> None:
        try:
            answer = partial(loading.set_result, self._live())
        except BaseException as error:  # noqa: BLE001 -- whatever happened belongs to those who wait
            answer = partial(loading.set_exception, error)
        with self._starting:
            self._loading = None  # before they are answered, so that who tries again does
        answer()
