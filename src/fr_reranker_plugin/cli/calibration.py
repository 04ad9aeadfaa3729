"""The option that names a calibration, and its reading."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fr_reranker_plugin.scoring.settings import check_calibrated_scale

if TYPE_CHECKING:
    from fr_reranker_plugin.scoring.calibration import Calibration

CalibrationOption = Annotated[
    Path | None,
    typer.Option("--calibration", help="A file that calibrate wrote: scores are its probabilities; --threshold too."),
]


def read_calibration(path: Path | None, *, model: str, raw_scores: bool) -> Calibration | None:
    """Give the calibration that was chosen, if one was; say so if it was fitted for another model.

    :raises SettingsError: If it is not there or cannot be used, or raw scores are wanted.
    """
    from fr_reranker_plugin.scoring.kept_calibration import KeptCalibration

    check_calibrated_scale(path, scale_score=not raw_scores)
    return KeptCalibration().read(None if path is None else str(path), model=model)
