"""What an open index holds of its folder."""

from __future__ import annotations

import os
from pathlib import Path

from fr_reranker_plugin.retrieval.folder_lock import FolderLock
from fr_reranker_plugin.retrieval.index_contents import IndexContents


class OpenFiles:
    """What must be given back, also when an index is forgotten rather than closed.

    A forked child gives nothing back: files and lock are those of its parent.

    :param lock: The right to write; `None`: there is none, as for readers and in memory.
    :param working_file: The copy of the documents that is changed, if there is one.
    """

    def __init__(self, contents: IndexContents, lock: FolderLock | None, working_file: Path | None) -> None:
        self.contents = contents
        self.lock = lock
        self.working_file = working_file
        self._process = os.getpid()

    def release(self) -> None:
        """Close the files and let others write."""
        if os.getpid() != self._process:
            return
        self.contents.close()
        if self.lock is not None:
            if self.working_file is not None:
                self.working_file.unlink(missing_ok=True)
            self.lock.release()
