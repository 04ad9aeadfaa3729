"""One writer per folder: a file that is locked as long as its process lives."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Final

from fr_reranker_plugin.errors import IndexFolderError, IndexLockedError

_LOCKED_BYTE: Final = 1 << 30
"""Windows keeps others from reading what is locked, so the lock stands behind the process id."""


class FolderLock:
    """A lock that the system takes back when the process ends, however it ends.

    :param path: The lock file; created if need be, never removed.
    :param otherwise: What else there is to do for who does not get it, as the end of a sentence.
    :raises IndexLockedError: If another holds it; the message names its process.
    :raises IndexFolderError: If the file system has no locks, as some over a network have none.
    """

    def __init__(self, path: Path, *, otherwise: str = "") -> None:
        self._file = path.open("a+b")
        try:
            _lock(self._file.fileno())
        except OSError as error:
            with self._file:
                raise self._refusal(path, error, otherwise) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()).encode())
        self._file.flush()

    def _refusal(self, path: Path, error: OSError, otherwise: str) -> IndexLockedError | IndexFolderError:
        if error.errno not in _HELD:
            return IndexFolderError(
                f"{path.parent} cannot be kept from other writers: its file system locks no files ({error.strerror}); "
                "write to a local disk, and copy the folder when it is done"
            )
        self._file.seek(0)
        holder = self._file.read().decode(errors="replace").strip() or "unknown"
        return IndexLockedError(f"{path.parent} is open for writing in process {_with_advice(holder)}{otherwise}")

    def release(self) -> None:
        """Let others write."""
        self._file.close()


def _with_advice(holder: str) -> str:
    is_ours = holder == str(os.getpid())
    return f"{holder}, this one; use what has it open, or close that" if is_ours else f"{holder}; close it there"


if sys.platform == "win32":
    import msvcrt

    _HELD: Final = frozenset({errno.EACCES, errno.EDEADLK})
    """What the system says of a lock that another holds."""

    def _lock(file: int) -> None:
        os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    _HELD: Final = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
    """What the system says of a lock that another holds."""

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
