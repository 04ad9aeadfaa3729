"""A recipe in the words of the trainer, for the machine at hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.training.recipes import Recipe

if TYPE_CHECKING:
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments

DEVICES: Final = ("cpu", "cuda", "mps")
_SCHEDULES: Final = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
_EVALUATIONS: Final = 10
_POINTS_PER_EVALUATION: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The numbers of a run that depend on the data and on how many processes share the work.

    :param steps: Steps of the optimiser in all.
    :param rows_at_once: Rows of one forward pass on one device.
    :param eval_every: Steps from one dev evaluation and checkpoint to the next.
    :param log_every: Steps from one point of the loss curve to the next.
    """

    steps: int
    rows_at_once: int
    eval_every: int
    log_every: int


def rows_at_once(recipe: Recipe, processes: int) -> int:
    """Give the rows of one forward pass on one device.

    :raises SettingsError: If the batch cannot be shared out evenly.
    """
    shares = recipe.accumulation * processes
    if recipe.batch_size % shares:
        raise SettingsError(
            f"a batch of {recipe.batch_size} cannot be shared out evenly over {processes} processes with "
            f"{recipe.accumulation} parts each; choose a multiple of {shares} as batch_size"
        )
    return recipe.batch_size // shares


def paced(recipe: Recipe, rows: int, processes: int) -> Pace:
    """Work out the pace of a run.

    :param rows: Of the data.
    :raises SettingsError: If the batch cannot be shared out evenly.
    """
    at_once = rows_at_once(recipe, processes)
    per_epoch = math.ceil(rows / recipe.batch_size)  # the last step of an epoch takes what is left
    steps = recipe.steps or math.ceil(recipe.epochs * per_epoch)
    apart = recipe.log_every or 1
    eval_every = recipe.eval_every or max(1, steps // _EVALUATIONS // apart) * apart
    log_every = recipe.log_every or _divisor(eval_every, at_most=max(1, eval_every // _POINTS_PER_EVALUATION))
    return Pace(steps=steps, rows_at_once=at_once, eval_every=eval_every, log_every=log_every)


def check_device(device: str | None) -> None:
    """Refuse a device that the trainer does not choose by name.

    :raises SettingsError: Then.
    """
    if device is not None and device not in DEVICES:
        raise SettingsError(
            f"training runs on {', '.join(DEVICES)}, got device {device!r}; choose among GPUs with CUDA_VISIBLE_DEVICES"
        )


def on_gpu(device: str | None) -> bool:
    """Tell whether a run on this device is one on CUDA."""
    import torch

    return device in (None, "cuda") and torch.cuda.is_available()


def on_cpu(device: str | None) -> bool:
    """Tell whether a run on this device is one on the CPU."""
    import torch

    return device == "cpu" or not (on_gpu(device) or torch.backends.mps.is_available())


def resolved_precision(recipe: Recipe, device: str | None) -> str:
    """Give the arithmetic of the forward pass on this machine.

    :raises SettingsError: If the recipe asks for what the device has not.
    """
    import torch

    has_gpu = on_gpu(device)
    if device == "cuda" and not has_gpu:
        raise SettingsError("device 'cuda' is not here: torch sees no CUDA device")
    if device == "mps" and not torch.backends.mps.is_available():
        raise SettingsError("device 'mps' is not here: torch sees no Apple GPU")
    if recipe.precision == "auto":
        return ("bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16") if has_gpu else "float32"
    if recipe.precision == "fp16" and not has_gpu:
        raise SettingsError("precision 'fp16' is for GPUs; use 'float32', or 'bf16' on a CPU with AMX")
    return recipe.precision


def trainer_arguments(
    recipe: Recipe, pace: Pace, checkpoints: Path, *, device: str | None, with_dev: bool, resumes: bool
) -> CrossEncoderTrainingArguments:
    """Give the arguments of the trainer.

    :param with_dev: Whether there are dev questions.
    :param resumes: Whether the run goes on from a checkpoint; the start is not evaluated again then.
    """
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments

    precision = resolved_precision(recipe, device)
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(checkpoints),
        max_steps=pace.steps,
        per_device_train_batch_size=pace.rows_at_once,
        gradient_accumulation_steps=recipe.accumulation,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=_SCHEDULES[recipe.schedule],
        warmup_steps=round(recipe.warm_up * pace.steps),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.clip,
        optim="adamw_torch",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        seed=recipe.seed,
        eval_strategy="steps" if with_dev else "no",
        eval_steps=pace.eval_every,
        eval_on_start=with_dev and not resumes,
        save_strategy="steps",
        save_steps=pace.eval_every,
        logging_steps=pace.log_every,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=on_gpu(device),
        use_cpu=on_cpu(device),
        ddp_find_unused_parameters=False,  # every one is used; looking for others fails on the model's kind of output
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _divisor(number: int, *, at_most: int) -> int:
    return next(one for one in range(at_most, 0, -1) if number % one == 0)
