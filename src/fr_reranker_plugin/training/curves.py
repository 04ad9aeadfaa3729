"""The curves of a training run as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from fr_reranker_plugin.errors import MissingDependencyError
from fr_reranker_plugin.training.history import MEASURES, History, best_quality, losses, qualities

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73")
"""From Okabe and Ito's colours, which people with any kind of colour vision tell apart."""

_POINTS: Final = 100
_DPI: Final = 150


def check_drawing() -> None:
    """Refuse to begin what could not draw its curves at the end.

    :raises MissingDependencyError: If matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401 -- whether it is there
    except ImportError as error:
        raise MissingDependencyError("curves need matplotlib: pip install 'fr-reranker-plugin[train]'") from error


def draw_curves(history: History, path: Path, *, no_skill: float | None = None, dev_name: str = "") -> None:
    """Draw the loss by step and, where there is a dev set, its quality by step; into a PNG file.

    :param no_skill: The loss of a model that knows nothing; a line.
    :param dev_name: What the dev set is called.
    """
    from matplotlib.figure import Figure

    with_dev = bool(qualities(history))
    figure = Figure(figsize=(7.5, 7 if with_dev else 4), layout="constrained")
    axes = figure.subplots(2 if with_dev else 1, 1, squeeze=False)[:, 0]
    _draw_loss(axes[0], history, no_skill)
    if with_dev:
        _draw_quality(axes[1], history, dev_name)
    for one in axes:
        one.set_xlabel("steps of the optimiser")
        one.spines[["top", "right"]].set_visible(False)
        one.legend(fontsize=8)
    figure.savefig(path, dpi=_DPI, format="png")


def _draw_loss(axes: Axes, history: History, no_skill: float | None) -> None:
    points = losses(history)
    axes.plot([p.step for p in points], [p.value for p in points], color=_COLOURS[0], label="training loss")
    if no_skill is not None:
        axes.axhline(no_skill, color="grey", linestyle="--", linewidth=1, label=f"knowing nothing: {no_skill:.3f}")
    axes.set_ylabel("loss")
    axes.set_title("Training loss, mean since the point before", fontsize=10)


def _draw_quality(axes: Axes, history: History, dev_name: str) -> None:
    for name, colour in zip(MEASURES, _COLOURS[1:], strict=True):
        points = qualities(history, name)
        values = [_POINTS * p.value for p in points]
        axes.plot([p.step for p in points], values, color=colour, marker="o", markersize=3, label=name)
    if best := best_quality(history):
        axes.axvline(best.step, color="grey", linestyle=":", linewidth=1, label=f"kept: step {best.step}")
    axes.set_ylabel("quality × 100")
    axes.set_title(f"Dev quality, from the start on: {dev_name}", fontsize=10)
