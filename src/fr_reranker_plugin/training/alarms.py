"""What stops a training run that has gone wrong, with what to do about it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fr_reranker_plugin.errors import TrainingError
from fr_reranker_plugin.training.history import (
    MAIN_MEASURE,
    MEASURES,
    ends_early,
    losses,
    qualities,
    start_quality,
)
from fr_reranker_plugin.training.training_rows import RowFacts

WORSE_IN_A_ROW: Final = 3
"""Dev evaluations below the start that stop a run: one alone may be chance, or the warm-up."""

CALMER: Final = "use a lower rate (--learning-rate), or --precision bf16 or float32"
"""What helps against numbers that are not finite."""

_NO_SKILL_SHARE: Final = 0.02
"""How much of the way from knowing nothing to the floor still counts as knowing nothing, and as standing still."""


class StuckLoss(TrainerCallback):
    """Stops a run whose loss stays where a model that knows nothing has it: ln 2 with as many positives as negatives.

    A loss that is higher and falls is no reason to stop: a model that is too sure of itself begins there.

    :param facts: Of the rows; says where that is.
    :param stuck_after: For how many steps.
    """

    def __init__(self, facts: RowFacts, stuck_after: int) -> None:
        self._facts = facts
        self._stuck_after = stuck_after

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ANN401, ARG002 -- transformers' signature
        """Look at the last points of the curve.

        :raises TrainingError: If they all say that nothing was learnt.
        """
        level, floor = self._facts.no_skill, self._facts.floor
        if level is None or floor is None or state.global_step < self._stuck_after:
            return
        recent = [p.value for p in losses(state.log_history) if p.step > state.global_step - self._stuck_after]
        if not recent:
            return
        quarter, little = math.ceil(len(recent) / 4), _NO_SKILL_SHARE * (level - floor)
        before, now = fmean(recent[:quarter]), fmean(recent[-quarter:])
        if now >= level - little and before - now <= little:
            raise TrainingError(
                f"the loss sits at {now:.4f} after {state.global_step} steps; a model that tells no passage "
                f"from another has {level:.4f}. Nothing is being learnt: look whether the labels belong to their "
                "passages; then try a lower rate (--learning-rate), a longer warm-up (--warm-up) or another --seed"
            )


class FallingQuality(TrainerCallback):
    """Stops a run that makes the model worse than it was at the start, several evaluations in a row."""

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ANN401, ARG002 -- transformers' signature
        """Compare the last evaluations with the first one.

        :raises TrainingError: If all of them are lower.
        """
        start = start_quality(state.log_history)
        later = [point for point in qualities(state.log_history) if point.step > 0][-WORSE_IN_A_ROW:]
        if start is None or len(later) < WORSE_IN_A_ROW or any(point.value >= start.value for point in later):
            return
        raise TrainingError(
            f"dev {MAIN_MEASURE} fell from {start.value:.4f} at the start to {later[-1].value:.4f} at step "
            f"{state.global_step}, and was below the start {WORSE_IN_A_ROW} times in a row. {WHAT_TO_DO}"
        )


WHAT_TO_DO: Final = (
    "Lower the rate (--learning-rate), add more varied data, or check that the dev questions are of the kind that the "
    "data teaches and that its negatives do not answer"
)


class EarlyStop(TrainerCallback):
    """Ends a run whose dev quality has not risen for `patience` evaluations.

    It counts in the run's log, which checkpoints keep, so a run that goes on stops where an undisturbed one does.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ANN401, ARG002 -- transformers' signature
        """Ask for the end where it is due."""
        if ends_early(state.log_history, self._patience):
            control.should_training_stop = True


class LastStep(TrainerCallback):
    """Has the last step logged, evaluated and saved, wherever it falls."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ANN401 -- transformers' signature
        """Ask for all three at the end."""
        if state.global_step >= state.max_steps:
            control.should_log = control.should_save = True
            control.should_evaluate = args.eval_strategy != "no"


class Reporter(TrainerCallback):
    """Tells how far the run is.

    :param advance: Called with the number of steps done.
    :param tell: Called with a sentence at each dev evaluation.
    """

    def __init__(self, advance: Callable[[int], object], tell: Callable[[str], object]) -> None:
        self._advance = advance
        self._tell = tell

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ANN401, ARG002 -- transformers' signature
        """Count the steps of an earlier part of the run."""
        self._advance(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ANN401, ARG002 -- transformers' signature
        """Count a step."""
        self._advance(1)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ANN401, ARG002 -- transformers' signature
        """Say the loss and the dev quality."""
        if not state.is_world_process_zero:
            return
        latest = [f"dev {name} {qualities(state.log_history, name)[-1].value:.4f}" for name in MEASURES]
        loss = [f"loss {point.value:.4f}" for point in losses(state.log_history)[-1:]]
        self._tell(f"step {state.global_step} of {state.max_steps}: {', '.join([*loss, *latest])}")


def keep_bad_batch(batch: Mapping[str, Any], path: Path) -> None:
    """Write the texts and targets of a batch into a file, for a person to look at."""
    rows = {name: [_plain(value) for value in values] for name, values in batch.items() if name != "prompt"}
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")


def _plain(value: Any) -> Any:  # noqa: ANN401 -- texts, lists of texts, tensors
    return value.tolist() if hasattr(value, "tolist") else value
