"""What filters select, remembered for the next search with the same one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from fr_reranker_plugin.retrieval.filters import Filter

_KEPT: Final = 16

_Found = TypeVar("_Found")


class FilterMemory(Generic[_Found]):
    """What the filters that were asked last select, as long as no document changes.

    A filter that is asked again and again, as that of a tenant is, is looked up once. Safe to use from any number of
    threads.
    """

    def __init__(self) -> None:
        self._found: dict[str, _Found] = {}
        self._lock = threading.Lock()

    def recall(self, filters: Filter, look_up: Callable[[Filter], _Found]) -> _Found:
        """Give what a filter selects, looked up if it is not remembered.

        :raises FilterError: As `look_up` does; nothing is remembered then.
        """
        key = repr(filters)
        with self._lock:
            if key in self._found:
                self._found[key] = self._found.pop(key)  # the last to be forgotten
                return self._found[key]
        found = look_up(filters)
        with self._lock:
            self._found[key] = found
            if len(self._found) > _KEPT:
                del self._found[next(iter(self._found))]
        return found
