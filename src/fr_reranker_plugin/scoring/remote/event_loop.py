"""One event loop in a thread of its own, for the connections of all remote scorers of this process.

Threads and any number of event loops can wait for what runs in it, so that all of them share open connections.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Final

from fr_reranker_plugin.scoring.forking import after_fork_in_child


class BackgroundLoop:
    """An event loop that is started when it is first asked for; it ends with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inherited: list[object] = []

    def running(self) -> asyncio.AbstractEventLoop:
        """Give the loop, which runs."""
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name="fr-reranker-remote", daemon=True).start()
                self._loop = loop
            return self._loop

    def is_running(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether this is the loop that runs in this process, rather than that of the one it was forked from."""
        return loop is self._loop

    def keep(self, inherited: object) -> None:
        """Never let go of something that belongs to the parent of this process: freeing it would disturb the parent."""
        self._inherited.append(inherited)

    def after_fork_in_child(self) -> None:
        """Start anew when asked; the thread lives in the parent."""
        self._lock = threading.Lock()
        self._inherited.append(self._loop)
        self._loop = None


LOOP: Final = BackgroundLoop()
after_fork_in_child(LOOP.after_fork_in_child)
