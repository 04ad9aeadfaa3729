"""One live batcher per model, purpose and process, whoever asks for it."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar, cast

from fr_reranker_plugin.errors import ScorerClosedError
from fr_reranker_plugin.scoring.batcher import FORKED, Batcher
from fr_reranker_plugin.scoring.checkpoint import local_folder
from fr_reranker_plugin.scoring.forking import after_fork_in_child
from fr_reranker_plugin.scoring.settings import EMBEDDED, BatchSettings, ModelSettings

logger = logging.getLogger(__name__)

Live = TypeVar("Live", bound=Batcher)
Load = Callable[[ModelSettings, BatchSettings], Live]
Key = tuple[type[Batcher], ModelSettings]


@dataclass(slots=True)
class _Entry:
    """A model that is loaded or being loaded, and how many handles hold it."""

    loading: threading.Lock = field(default_factory=threading.Lock)
    batcher: Batcher | None = None
    batch: BatchSettings | None = None
    holders: int = 0


class Registry:
    """The live batchers of this process, by what they are for and by resolved model settings."""

    def __init__(self) -> None:
        self._entries: dict[Key, _Entry] = {}
        self._lock = threading.RLock()  # the garbage collector may drop a handle while the lock is held
        self._ancestor_had_models = False

    def acquire(
        self, kind: type[Live], model: ModelSettings, batch: BatchSettings, load: Load[Live]
    ) -> tuple[Key, Live]:
        """Give the live batcher of `model`, loading it if this is the first holder; a failed load is not kept.

        :param kind: What it is for; one model may be loaded for several things.
        :param load: Loads it, given resolved settings.
        """
        from fr_reranker_plugin.scoring.loading import resolve_settings

        if self._ancestor_had_models:
            raise ScorerClosedError(FORKED)
        resolved = resolve_settings(model)
        key: Key = (kind, _kept_as(resolved))
        batch = batch.for_device(resolved.device)
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            entry.holders += 1
        try:
            with entry.loading:
                if entry.batcher is None:
                    entry.batcher, entry.batch = load(resolved, batch), batch
        except BaseException:
            self.release(key)
            raise
        if batch != entry.batch:
            logger.warning("%s is loaded already and batches with %s; %s is not used", model.model, entry.batch, batch)
        return key, cast("Live", entry.batcher)

    def release(self, key: Key) -> None:
        """Let go of a batcher; the last holder closes it and frees the memory."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return
            entry.holders -= 1
            if entry.holders:
                return
            del self._entries[key]
        if entry.batcher is not None:
            entry.batcher.close()
            entry.batcher = None
            _free_gpu_memory(key[1])

    def count(self, kind: type[Batcher]) -> int:
        """How many batchers of a kind are loaded."""
        with self._lock:
            return sum(key[0] is kind and entry.batcher is not None for key, entry in self._entries.items())

    def after_fork_in_child(self) -> None:
        """Start anew; the batchers' threads live in the parent, and torch hangs in a child of whoever has used it."""
        self._ancestor_had_models |= bool(self._entries)
        self._entries = {}
        self._lock = threading.RLock()


REGISTRY: Final = Registry()
after_fork_in_child(REGISTRY.after_fork_in_child)


def _kept_as(resolved: ModelSettings) -> ModelSettings:
    """Give one name to all settings that load the same: what only says where to look takes no part once it is loaded.

    The first to come loads by its own settings, and if that fails, the next one by its own.
    """
    settings = replace(resolved, local_files_only=False)
    is_on_disk = settings.model == EMBEDDED or local_folder(settings.model) is not None
    return replace(settings, revision=None, cache_folder=None) if is_on_disk else settings


def release_later(key: Key) -> None:
    """Release for a handle that was dropped without `close`: not in the garbage collector, which may hold any lock."""
    if sys.is_finalizing():
        return
    with suppress(RuntimeError):  # no thread can be started any more: the process ends, and its memory with it
        threading.Thread(target=REGISTRY.release, args=(key,), name="fr-reranker-release").start()


def _free_gpu_memory(key: ModelSettings) -> None:
    import gc

    import torch

    if any(device is not None and device.startswith("cuda") for device in key.devices):
        gc.collect()
        torch.cuda.empty_cache()
