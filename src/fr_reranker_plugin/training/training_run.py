"""From a recipe and examples to a model folder: what `fr-reranker train` runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fr_reranker_plugin.errors import MissingDependencyError, TrainingError
from fr_reranker_plugin.evaluation.progress import ShowProgress, show_nothing
from fr_reranker_plugin.scoring.checkpoint import find_checkpoint
from fr_reranker_plugin.scoring.settings import ModelSettings
from fr_reranker_plugin.training.checkpoints import checkpoint_folder, latest_checkpoint
from fr_reranker_plugin.training.curves import check_drawing, draw_curves
from fr_reranker_plugin.training.dev_sets import DevQuestion, DevSource, kept_dev_set
from fr_reranker_plugin.training.examples import TrainingExample, read_examples
from fr_reranker_plugin.training.history import (
    MAIN_MEASURE,
    History,
    best_quality,
    ends_early,
    start_quality,
)
from fr_reranker_plugin.training.model_card import model_card
from fr_reranker_plugin.training.run_folder import RunFolder
from fr_reranker_plugin.training.start_model import StartModel, keep_no_activations, open_start, save_result
from fr_reranker_plugin.training.trainer_arguments import Pace, on_cpu, paced, rows_at_once, trainer_arguments
from fr_reranker_plugin.training.training_plan import TrainingPlan, run_facts, run_identity
from fr_reranker_plugin.training.training_rows import RowFacts, count_taught, prepared_rows

if TYPE_CHECKING:
    from datasets import Dataset

    from fr_reranker_plugin.training.reranker_trainer import RerankerTrainer

_NEEDED: Final = ("accelerate", "datasets", "sentence_transformers")

_PATIENCE: Final = timedelta(days=1)
"""How long processes wait for the first one, which alone reads the data and may index millions of passages."""

Tell = Callable[[str], object]
"""Takes a sentence about the run, for a person."""


def _tell_nobody(sentence: str) -> None:
    pass


@dataclass(slots=True, kw_only=True)
class _Prepared:
    """What every process of a run holds before the first step."""

    start: Path
    identity: dict[str, Any]
    rows: Dataset
    facts: RowFacts
    model: StartModel
    dev: list[DevQuestion]
    dev_taught: int


def train(plan: TrainingPlan, *, show: ShowProgress = show_nothing, tell: Tell = _tell_nobody) -> dict[str, Any]:
    """Train a cross-encoder, and give the report that `training.json` in the folder holds.

    Killed at any moment, the same call goes on from the last checkpoint, and ends with the weights of an undisturbed
    run. A run that is finished is not run again.

    :raises SettingsError: If a value does not suit the data or the machine, or the folder holds something else.
    :raises CollectionError: If data or dev questions are missing or malformed, or have nothing to learn from.
    :raises ModelLoadError: If the start cannot be loaded.
    :raises TrainingError: If the run went wrong and was stopped.
    :raises MissingDependencyError: If a library is not installed.
    """
    _check_installed()
    from accelerate import PartialState

    folder = RunFolder(plan.out)
    ranks = PartialState(cpu=on_cpu(plan.device), timeout=_PATIENCE)
    if not ranks.is_main_process:
        show, tell = show_nothing, _tell_nobody
    if plan.dev is None:
        tell("without --dev or --dev-examples nothing tells whether the model gets better; the last weights are kept")
    rows_at_once(plan.recipe, ranks.num_processes)  # refuses what cannot be shared out, before the data are read
    with ExitStack() as held:
        with ranks.main_process_first():
            start = find_checkpoint(_start_settings(plan))
            identity = run_identity(plan, start)
            if ranks.is_main_process:
                held.enter_context(folder.claimed(identity, restart=plan.restart))
            if report := folder.report():
                tell(f"{plan.out} holds the finished result of this run; --restart trains it again")
                return report
            prepared = _prepare(plan, folder, start, identity, show)
        if prepared.dev_taught:
            tell(
                f"{prepared.dev_taught} of {len(prepared.dev)} dev questions are trained on, too: their figures do not "
                "tell what the model makes of questions that it has not seen"
            )
        return _trained(plan, folder, prepared, ranks.num_processes, show, tell)


def is_first_process() -> bool:
    """Tell whether this is the one of a run's processes that writes and tells."""
    from accelerate import PartialState

    return bool(PartialState().is_main_process)


def _prepare(
    plan: TrainingPlan, folder: RunFolder, start: Path, identity: dict[str, Any], show: ShowProgress
) -> _Prepared:
    recipe = plan.recipe
    with show("reading examples", None) as advance:
        rows, facts = prepared_rows(_counted(read_examples(plan.data), advance), folder.rows, recipe.loss)
    model = open_start(start, seed=recipe.seed, max_length=recipe.max_length)
    dev = [] if plan.dev is None else _dev(plan.dev, folder, recipe.seed, show)
    taught = count_taught(rows, (one.query for one in dev))
    return _Prepared(start=start, identity=identity, rows=rows, facts=facts, model=model, dev=dev, dev_taught=taught)


def _counted(examples: Iterator[TrainingExample], advance: Callable[[int], object]) -> Iterator[TrainingExample]:
    for example in examples:
        advance(1)
        yield example


def _dev(source: DevSource, folder: RunFolder, seed: int, show: ShowProgress) -> list[DevQuestion]:
    return kept_dev_set(folder.dev, lambda: source.read(folder.index, seed, show))


def _trained(
    plan: TrainingPlan, folder: RunFolder, prepared: _Prepared, processes: int, show: ShowProgress, tell: Tell
) -> dict[str, Any]:
    pace = paced(plan.recipe, len(prepared.rows), processes)
    with show("training", pace.steps) as advance:
        trainer = _trainer(plan, folder, prepared, pace, advance=advance, tell=tell)
        history = _run(trainer, plan, folder, prepared, tell)
    kept = best_quality(history)
    kept_step = kept.step if kept else trainer.state.global_step
    _refuse_worse(history, folder)
    trainer._load_from_checkpoint(str(checkpoint_folder(folder.checkpoints, kept_step)))
    report = {
        **prepared.identity,
        **run_facts(
            plan, history, kept_step=kept_step, dev_questions=len(prepared.dev), dev_taught=prepared.dev_taught
        ),
        "steps": pace.steps,
        "last_step": trainer.state.global_step,
        "reading_length": prepared.model.reading_length,
        "rows": asdict(prepared.facts),
    }
    if trainer.is_world_process_zero():
        with folder.result(report) as result:
            save_result(prepared.model.model, prepared.start, result)
            (result / "README.md").write_text(model_card(report), encoding="utf-8")
            _draw(history, result / folder.curves.name, plan, prepared)
    trainer.accelerator.wait_for_everyone()
    return report


def _trainer(
    plan: TrainingPlan,
    folder: RunFolder,
    prepared: _Prepared,
    pace: Pace,
    *,
    advance: Callable[[int], object],
    tell: Tell,
) -> RerankerTrainer:
    from transformers import PrinterCallback

    from fr_reranker_plugin.training.alarms import EarlyStop, FallingQuality, LastStep, Reporter, StuckLoss
    from fr_reranker_plugin.training.dev_evaluator import DevEvaluator
    from fr_reranker_plugin.training.losses import build_loss
    from fr_reranker_plugin.training.reranker_trainer import RerankerTrainer

    recipe = plan.recipe
    if recipe.gradient_checkpointing:
        keep_no_activations(prepared.model.model)
    callbacks = [StuckLoss(prepared.facts, recipe.stuck_after), FallingQuality(), LastStep(), Reporter(advance, tell)]
    trainer = RerankerTrainer(
        bad_batches=folder.inside,
        model=prepared.model.model,
        args=trainer_arguments(
            recipe, pace, folder.checkpoints, device=plan.device, with_dev=bool(prepared.dev),
            resumes=latest_checkpoint(folder.checkpoints) is not None,
        ),
        train_dataset=prepared.rows,
        loss=build_loss(recipe.loss, prepared.model.model),
        evaluator=DevEvaluator(prepared.dev, prepared.model.reading_length) if prepared.dev else None,
        callbacks=[*callbacks, *([EarlyStop(recipe.patience)] if recipe.patience and prepared.dev else [])],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer


def _run(trainer: RerankerTrainer, plan: TrainingPlan, folder: RunFolder, prepared: _Prepared, tell: Tell) -> History:
    """Run the steps that are left, and give the log of all of them."""
    from transformers import TrainerState

    latest = latest_checkpoint(folder.checkpoints)
    if latest is not None:
        state = TrainerState.load_from_json(str(latest / "trainer_state.json"))
        tell(f"going on after step {state.global_step} of {trainer.args.max_steps}")
        if state.global_step >= trainer.args.max_steps or ends_early(state.log_history, plan.recipe.patience):
            trainer.state = state
            return list(state.log_history)
    try:
        trainer.train(resume_from_checkpoint=None if latest is None else str(latest))
    finally:
        if trainer.is_world_process_zero() and trainer.state.log_history:
            _draw(trainer.state.log_history, folder.inside / folder.curves.name, plan, prepared)
    return list(trainer.state.log_history)


def _refuse_worse(history: History, folder: RunFolder) -> None:
    from fr_reranker_plugin.training.alarms import WHAT_TO_DO

    start, best = start_quality(history), best_quality(history)
    if start is not None and best is not None and best.value < start.value:
        raise TrainingError(
            f"the best dev {MAIN_MEASURE} after training, {best.value:.4f} at step {best.step}, is below that of the "
            f"start, {start.value:.4f}; no model was written, and the checkpoints stay in {folder.checkpoints}. "
            f"{WHAT_TO_DO}"
        )


def _draw(history: History, path: Path, plan: TrainingPlan, prepared: _Prepared) -> None:
    draw_curves(history, path, no_skill=prepared.facts.no_skill, dev_name=plan.dev.name if plan.dev else "")


def _start_settings(plan: TrainingPlan) -> ModelSettings:
    return ModelSettings(model=plan.recipe.model, revision=plan.recipe.revision, local_files_only=plan.local_files_only)


def _check_installed() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f"training needs {', '.join(missing)}: pip install 'fr-reranker-plugin[train]'")
    check_drawing()
