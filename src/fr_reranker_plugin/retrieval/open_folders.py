"""One open index per folder and process, for everyone who writes to it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final
from weakref import WeakSet, WeakValueDictionary

from fr_reranker_plugin.retrieval.dense_index import DenseIndex


class OpenFolder:
    """An index that is open for writing, and who uses it; it is closed with its last user.

    :param index: The open index.
    """

    def __init__(self, index: DenseIndex) -> None:
        self.index = index
        self.one_change = threading.RLock()
        """Held for changes that consist of several calls."""
        self._users: WeakSet[object] = WeakSet()

    @classmethod
    def join(cls, user: object, folder: Path | None, open_index: Callable[[], DenseIndex]) -> OpenFolder:
        """Give the open index of `folder`, opening it for its first user.

        :param user: Holds what is returned until `leave`, or until it is forgotten.
        :param folder: `None`: an index that nobody else can name.
        :param open_index: Opens it; what it raises is raised, and nothing is kept.
        """
        if folder is None:
            found = cls(open_index())
            found._users.add(user)
            return found
        place = folder.resolve()
        with _lock:
            known = _live.get(place)
            if known is None:
                known = _live[place] = cls(open_index())
            known._users.add(user)
            return known

    def leave(self, user: object) -> None:
        """Let go of the index; the last user closes it."""
        with _lock:
            self._users.discard(user)
            if self._users:
                return
            for place, known in list(_live.items()):
                if known is self:
                    del _live[place]
            self.index.close()  # inside: who comes next finds the folder free


_lock: Final = threading.RLock()
_live: Final[WeakValueDictionary[Path, OpenFolder]] = WeakValueDictionary()
