"""One live scorer per model and process, whoever asks for it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from fr_reranker_plugin.errors import ScorerClosedError
from fr_reranker_plugin.scoring.batching import FORKED, BatchingScorer
from fr_reranker_plugin.scoring.metrics import Health, Snapshot
from fr_reranker_plugin.scoring.scorer import Logits, Pair
from fr_reranker_plugin.scoring.settings import BatchSettings, ModelSettings, Priority
from fr_reranker_plugin.scoring.windows import Span

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry:
    """A model that is loaded or being loaded, and how many handles hold it."""

    loading: threading.Lock = field(default_factory=threading.Lock)
    scorer: BatchingScorer | None = None
    batch: BatchSettings | None = None
    holders: int = 0


class _Registry:
    """The live scorers of this process, by resolved model settings."""

    def __init__(self) -> None:
        self._entries: dict[ModelSettings, _Entry] = {}
        self._lock = threading.RLock()  # the garbage collector may drop a handle while the lock is held
        self._parent_had_models = False

    def acquire(self, model: ModelSettings, batch: BatchSettings) -> tuple[ModelSettings, BatchingScorer]:
        """Give the live scorer of `model`, loading it if this is the first holder; a failed load is not kept."""
        from fr_reranker_plugin.scoring.engines import load_engines
        from fr_reranker_plugin.scoring.loading import resolve_settings

        if self._parent_had_models:
            raise ScorerClosedError(FORKED)
        key = resolve_settings(model)
        batch = batch.for_device(key.device)
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            entry.holders += 1
        try:
            with entry.loading:
                if entry.scorer is None:
                    entry.scorer, entry.batch = BatchingScorer(load_engines(key), batch), batch
        except BaseException:
            self.release(key)
            raise
        if batch != entry.batch:
            logger.warning("%s is loaded already and batches with %s; %s is not used", key.model, entry.batch, batch)
        return key, entry.scorer

    def release(self, key: ModelSettings) -> None:
        """Let go of a scorer; the last holder closes it and frees the memory."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return
            entry.holders -= 1
            if entry.holders:
                return
            del self._entries[key]
        if entry.scorer is not None:
            entry.scorer.close()
            entry.scorer = None
            _free_gpu_memory(key)

    def __len__(self) -> int:
        with self._lock:
            return sum(entry.scorer is not None for entry in self._entries.values())

    def after_fork_in_child(self) -> None:
        """Start anew; the scorers' threads live in the parent, and torch hangs in a child whose parent has used it."""
        self._parent_had_models = bool(self._entries)
        self._entries = {}
        self._lock = threading.RLock()


_registry: Final = _Registry()
os.register_at_fork(after_in_child=_registry.after_fork_in_child)


def live_scorers() -> int:
    """How many models this process holds in memory through `shared_scorer`."""
    return len(_registry)


class SharedScorer:
    """A handle on the live scorer of a model; cheap to make, to copy and to pickle.

    The model is loaded at the first use and shared by every handle with the same settings. A copy starts cold and
    joins the same live scorer when it is used; it does not carry the token. Using a closed handle opens it again.
    A `timeout` counts from when the model is loaded.

    :param model: Which model. Handles with equal settings, once `None` and `"auto"` are resolved, share it.
    :param batch: Bounds of batch and queue. The first handle of a model decides; a later difference is logged.
    """

    def __init__(self, model: ModelSettings, batch: BatchSettings | None = None) -> None:
        self.model = model
        self.batch = batch or BatchSettings()
        self._lock = threading.Lock()
        self._held: BatchingScorer | None = None
        self._forgotten: weakref.finalize[[ModelSettings], SharedScorer] | None = None

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

    def score(
        self, pairs: Sequence[Pair], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> Logits:
        """Give one raw logit per pair, in order; see `BatchingScorer.score`. No pairs load nothing."""
        return self._live().score(pairs, timeout=timeout, priority=priority) if pairs else Logits()

    async def ascore(
        self, pairs: Sequence[Pair], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> Logits:
        """Give one raw logit per pair without blocking the event loop; see `BatchingScorer.ascore`."""
        if not pairs:
            return Logits()
        return await (await self._alive()).ascore(pairs, timeout=timeout, priority=priority)

    def windows(self, pairs: Sequence[Pair], *, overlap: int) -> list[list[Span]]:
        """Give where the passage of each pair is cut into windows that fit; see `cut_passages`."""
        return self._live().windows(pairs, overlap=overlap)

    async def awindows(self, pairs: Sequence[Pair], *, overlap: int) -> list[list[Span]]:
        """Give where each passage is cut without blocking the event loop."""
        return await (await self._alive()).awindows(pairs, overlap=overlap)

    def snapshot(self) -> Snapshot | None:
        """Counters of the live scorer, over all its callers; `None` while the handle is cold."""
        held = self._held
        return None if held is None else held.snapshot()

    def health(self) -> Health | None:
        """Tell whether the live scorer can answer; `None` while the handle is cold."""
        held = self._held
        return None if held is None else held.health()

    def close(self) -> None:
        """Let go of the model; the last handle's `close` answers what is queued and frees the memory."""
        with self._lock:
            self._held = None
            if self._forgotten is not None and (forgotten := self._forgotten.detach()) is not None:
                _, _, (key,), _ = forgotten
                _registry.release(key)

    def _live(self) -> BatchingScorer:
        held = self._held
        if held is not None:
            return held
        with self._lock:
            if self._held is None:
                key, self._held = _registry.acquire(self.model, self.batch)
                self._forgotten = weakref.finalize(self, _release_later, key)
                self._forgotten.atexit = False
            return self._held

    async def _alive(self) -> BatchingScorer:
        held = self._held
        return held if held is not None else await asyncio.to_thread(self._live)

    def __reduce__(self) -> tuple[type[SharedScorer], tuple[ModelSettings, BatchSettings]]:
        return SharedScorer, (replace(self.model, token=None), self.batch)


def shared_scorer(model: ModelSettings | None = None, batch: BatchSettings | None = None) -> SharedScorer:
    """Give a warm handle on the one live scorer of `model` in this process.

    :param model: Which model; `None` is the reference model with its defaults.
    :param batch: Bounds of batch and queue, if this is the first handle.
    :raises ModelLoadError: If the model cannot be loaded.
    """
    handle = SharedScorer(model or ModelSettings(), batch)
    handle.warm_up()
    return handle


def _release_later(key: ModelSettings) -> None:
    """Release for a handle that was dropped without `close`: not in the garbage collector, which may hold any lock."""
    if sys.is_finalizing():
        return
    with suppress(RuntimeError):  # no thread can be started any more: the process ends, and its memory with it
        threading.Thread(target=_registry.release, args=(key,), name="fr-reranker-release").start()


def _free_gpu_memory(key: ModelSettings) -> None:
    import gc

    import torch

    if any(device is not None and device.startswith("cuda") for device in key.devices):
        gc.collect()
        torch.cuda.empty_cache()
