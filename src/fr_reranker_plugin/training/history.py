"""What a training run has logged so far: the losses and the dev quality by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final, NamedTuple

MAIN_MEASURE: Final = "RR@10"
"""What chooses the best checkpoint and stops early."""

MEASURES: Final = (MAIN_MEASURE, "nDCG@10")

History = Sequence[Mapping[str, Any]]
"""The entries of `TrainerState.log_history`, which checkpoints keep."""

_PREFIX: Final = "eval_"


class Point(NamedTuple):
    """A value after so many steps."""

    step: int
    value: float


def losses(history: History) -> list[Point]:
    """Give the points of the loss curve; each is the mean since the point before."""
    return [Point(entry["step"], entry["loss"]) for entry in history if "loss" in entry]


def qualities(history: History, measure: str = MAIN_MEASURE) -> list[Point]:
    """Give the dev quality, 0..1, at each evaluation; the first one, at step 0, is that of the start."""
    name = f"{_PREFIX}{measure}"
    return [Point(entry["step"], entry[name]) for entry in history if name in entry]


def start_quality(history: History, measure: str = MAIN_MEASURE) -> Point | None:
    """Give the dev quality before the first step; `None` without a dev set."""
    return next((point for point in qualities(history, measure) if point.step == 0), None)


def best_quality(history: History) -> Point | None:
    """Give the first of the best dev evaluations after the start; `None` if there is none yet."""
    return max(_after_start(history), key=lambda point: point.value, default=None)


def evaluations_since_best(history: History) -> int:
    """Count the dev evaluations that came after the best one."""
    best = best_quality(history)
    return 0 if best is None else sum(point.step > best.step for point in _after_start(history))


def ends_early(history: History, patience: int | None) -> bool:
    """Tell whether dev quality has not risen for so many evaluations."""
    return patience is not None and evaluations_since_best(history) >= patience


def as_json_values(history: History) -> list[dict[str, Any]]:
    """Give the entries without numbers that JSON has not, such as the length of a gradient that overflowed in fp16."""
    return [
        {name: value for name, value in entry.items() if not isinstance(value, float) or isfinite(value)}
        for entry in history
    ]


def _after_start(history: History) -> list[Point]:
    return [point for point in qualities(history) if point.step > 0]
