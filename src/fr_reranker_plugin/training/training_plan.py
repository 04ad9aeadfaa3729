"""What is trained on what, what makes two runs the same, and what is told of a finished one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

from fr_reranker_plugin.collections.opening import files_fingerprint
from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.evaluation.provenance import machine_facts, versions
from fr_reranker_plugin.scoring.fingerprint import fingerprint
from fr_reranker_plugin.training.dev_sets import DevSource
from fr_reranker_plugin.training.history import MEASURES, History, as_json_values, qualities
from fr_reranker_plugin.training.recipes import Precision, Recipe
from fr_reranker_plugin.training.trainer_arguments import check_device, resolved_precision

_PACKAGES: Final = ("fr-reranker-plugin", "torch", "transformers", "sentence-transformers", "accelerate", "datasets",
                    "tokenizers", "numpy")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What is trained on what.

    :param recipe: Every value that decides the weights.
    :param data: Files of examples, see `read_examples`.
    :param out: The folder of the result.
    :param dev: Dev questions; without them the last weights are the result, whatever they are worth.
    :param device: `"cpu"`, `"cuda"` or `"mps"`; `None`: a GPU if there is one.
    :param local_files_only: Never ask the Hub.
    :param restart: Remove what an earlier run left in `out`, its model too.
    :param command: What the model card says was called.
    :raises SettingsError: If there is no data, or no such device.
    """

    recipe: Recipe
    data: tuple[Path, ...]
    out: Path
    dev: DevSource | None = None
    device: str | None = None
    local_files_only: bool = False
    restart: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        if not self.data:
            raise SettingsError("there is nothing to learn from; name one or more files of examples (--data)")
        check_device(self.device)


def run_identity(plan: TrainingPlan, start: Path) -> dict[str, Any]:
    """Give what decides the weights, as plain values.

    :param start: The folder of the model that training begins with.
    :raises CollectionError: If a file is missing.
    """
    recipe = replace(plan.recipe, precision=cast("Precision", resolved_precision(plan.recipe, plan.device)))
    return {
        "recipe": asdict(recipe),
        "start": fingerprint(start),
        "data": [{"file": path.name, "sha256": files_fingerprint([path])} for path in plan.data],
        "dev_source": None if plan.dev is None else plan.dev.identity(),
    }


def run_facts(
    plan: TrainingPlan, history: History, *, kept_step: int, dev_questions: int, dev_taught: int
) -> dict[str, Any]:
    """Give what a report tells of a finished run beside its identity: figures, command, versions and machine.

    :param dev_taught: How many of the dev questions were trained on, too.
    """
    at = {name: {point.step: point.value for point in qualities(history, name)} for name in MEASURES}
    return {
        "command": plan.command,
        "precision": resolved_precision(plan.recipe, plan.device),
        "kept_step": kept_step,
        "dev": None if plan.dev is None else {
            "name": plan.dev.name,
            "questions": dev_questions,
            "trained_on": dev_taught,
            "start": {name: values[0] for name, values in at.items()},
            "kept": {name: values[kept_step] for name, values in at.items()},
        },
        "versions": versions(_PACKAGES),
        "machine": machine_facts(),
        "history": as_json_values(history),
    }  # fmt: skip
