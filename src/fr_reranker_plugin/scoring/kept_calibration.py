"""The calibration of a door, which names it by its file."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fr_reranker_plugin.scoring.calibration import MAKE_ONE, Calibration
from fr_reranker_plugin.scoring.checkpoint import as_path

logger = logging.getLogger(__name__)

_reading: Final = threading.Lock()
"""Held while a door reads its file, so that a warning about it is given once."""


@dataclass(slots=True)
class KeptCalibration:
    """The calibration of a door, which is given as a path: read at the first use, and kept until the path is another.

    May be read from any number of threads.
    """

    _kept: tuple[str, str | None, Calibration] | None = None

    def read(self, path: str | None, *, model: str | None) -> Calibration | None:
        """Give the calibration of a file; `None` where none is named. Warns if it was fitted for another model.

        :param model: The model in use; `None` if that is not known.
        :raises SettingsError: If the file is not there or cannot be used; a later call tries again.
        """
        if path is None:
            return None
        with _reading:
            if self._kept is None or self._kept[:2] != (path, model):
                calibration = Calibration.load(path)
                warn_of_other_model(calibration, path, model=model)
                self._kept = path, model, calibration
            return self._kept[2]

    async def aread(self, path: str | None, *, model: str | None) -> Calibration | None:
        """Give the calibration of a file without blocking the event loop; see `read`."""
        if path is None:
            return None
        kept = self._kept
        return kept[2] if kept and kept[:2] == (path, model) else await asyncio.to_thread(self.read, path, model=model)


def warn_of_other_model(calibration: Calibration, path: object, *, model: str | None) -> None:
    """Log a warning if the calibration was fitted on the logits of another model than the one in use."""
    if model is None or calibration.model is None or _place(calibration.model) == _place(model):
        return
    logger.warning(
        "the calibration %s was fitted for the model %r, and %r is in use: its probabilities may be far off; %s",
        *(path, calibration.model, model, MAKE_ONE),
    )


def _place(model: str) -> Path:
    """Give one name to the ways of writing a folder; the name of a model on the Hub stays apart from others."""
    return as_path(model).resolve()
