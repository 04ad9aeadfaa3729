"""Files that are there whole or not at all, whenever the power goes."""

from __future__ import annotations

import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Put a file in the place of another at once; what was written before is on the disk by then.

    What a process leaves that is killed meanwhile ends in `.new`.
    """
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_bytes(content)
    flush(temporary)
    flush_folder(path.parent)
    temporary.replace(path)
    flush_folder(path.parent)


def flush(path: Path) -> None:
    """Wait until the disk has the file."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Wait until the disk has the names in the folder; Windows does so by itself."""
    if os.name == "nt":
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
