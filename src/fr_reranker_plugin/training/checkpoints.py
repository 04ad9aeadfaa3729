"""Checkpoints that count only when they are whole."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Final

from fr_reranker_plugin.retrieval.durable_files import flush, replace_file

_WHOLE: Final = "whole"
"""The file that is written last: without it a checkpoint was interrupted, while it was written or removed."""

_NAME: Final = re.compile(r"checkpoint-(\d+)")


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Give the folder of the checkpoint after so many steps."""
    return folder / f"checkpoint-{step}"


def declare_whole(checkpoint: Path) -> None:
    """Say that everything is written, once the disk has it."""
    for path in sorted(checkpoint.iterdir()):
        if path.is_file():
            flush(path)
    replace_file(checkpoint / _WHOLE, b"")


def whole_steps(folder: Path) -> list[int]:
    """Give the steps of the whole checkpoints, the latest last."""
    return sorted(step for step, path in _all(folder).items() if (path / _WHOLE).is_file())


def latest_checkpoint(folder: Path) -> Path | None:
    """Give the last whole checkpoint; `None` if there is none."""
    steps = whole_steps(folder)
    return checkpoint_folder(folder, steps[-1]) if steps else None


def remove_others(folder: Path, keep: Collection[int]) -> None:
    """Remove every checkpoint, whole or not, but those of the steps in `keep`."""
    for step, path in _all(folder).items():
        if step not in keep:
            (path / _WHOLE).unlink(missing_ok=True)
            shutil.rmtree(path)


def _all(folder: Path) -> dict[int, Path]:
    found = {path: _NAME.fullmatch(path.name) for path in folder.glob("checkpoint-*") if path.is_dir()}
    return {int(match[1]): path for path, match in found.items() if match}
