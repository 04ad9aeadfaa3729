"""`fr-reranker train`: fine-tune a cross-encoder."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fr_reranker_plugin.cli.printing import note, print_facts, print_json
from fr_reranker_plugin.cli.recipe_options import RecipeOptions
from fr_reranker_plugin.cli.shared_options import with_options_of
from fr_reranker_plugin.errors import SettingsError

_DEV = "Dev questions"
_DEV_FIRST_STAGE, _DEV_DEPTH = "dense", 20
_POINTS = 100


@with_options_of(RecipeOptions)
def train(  # noqa: PLR0913 -- each parameter is an option of the command
    options: RecipeOptions,
    *,
    data: Annotated[list[Path], typer.Option(help="A file of 'fr-reranker train-data'; repeatable.")],
    out: Annotated[Path, typer.Option(help="Folder for the result; the same command again goes on where it ended.")],
    recipe: Annotated[str, typer.Option(help="small, or me5-base-mmarcofr.")] = "small",
    dev: Annotated[
        str | None,
        typer.Option(help="'sample', a BEIR folder, FOLDER:SPLIT, or a name of ir_datasets.", rich_help_panel=_DEV),
    ] = None,
    dev_examples: Annotated[
        list[Path] | None, typer.Option(help="Examples that are not trained on, instead.", rich_help_panel=_DEV)
    ] = None,
    dev_first_stage: Annotated[
        str | None,
        typer.Option(help="bm25, dense (the default), hybrid, given, or a run file.", rich_help_panel=_DEV),
    ] = None,
    dev_depth: Annotated[
        int | None, typer.Option(help=f"Candidates of each question; default: {_DEV_DEPTH}.", rich_help_panel=_DEV)
    ] = None,
    dev_questions: Annotated[int, typer.Option(help="How many are drawn at most.", rich_help_panel=_DEV)] = 100,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or mps; default: a GPU if there is one.")] = None,
    local_files_only: Annotated[bool, typer.Option("--local-files-only", help="Never ask the Hub.")] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--restart",
            help="Go on where the same command was interrupted, or remove what is there and begin anew.",
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Fine-tune a cross-encoder on examples, and write it into a folder that every other command takes as --model.

    The recipe says how; every value of it can be replaced. With dev questions the best checkpoint is kept, and a run
    that makes the model worse is stopped. Killed, the same command goes on from the last checkpoint.
    """
    from fr_reranker_plugin.cli.evaluate_run import show_bar
    from fr_reranker_plugin.cli.scoring import silence_libraries
    from fr_reranker_plugin.training.training_plan import TrainingPlan
    from fr_reranker_plugin.training.training_run import is_first_process
    from fr_reranker_plugin.training.training_run import train as run

    plan = TrainingPlan(
        recipe=options.applied_to(recipe),
        data=tuple(data),
        out=out,
        dev=_dev_source(dev, dev_examples or [], dev_first_stage, dev_depth, dev_questions),
        device=device,
        local_files_only=local_files_only,
        restart=not resume,
        command=shlex.join(["fr-reranker", *sys.argv[1:]]),
    )
    silence_libraries()
    report = run(plan, show=show_bar, tell=note)
    if not is_first_process():
        return
    if as_json:
        print_json(report)
    else:
        print_facts(_facts(report, out))


def _dev_source(
    name: str | None, examples: list[Path], first_stage: str | None, depth: int | None, questions: int
) -> Any:  # noqa: ANN401 -- its module is imported when the command runs
    from fr_reranker_plugin.collections.opening import open_named
    from fr_reranker_plugin.evaluation.first_stages import FirstStages
    from fr_reranker_plugin.training.dev_sets import DevSource

    if name is not None and examples:
        raise SettingsError("dev questions come from --dev or from --dev-examples, not from both")
    if name is None and (first_stage, depth) != (None, None):
        raise SettingsError("--dev-first-stage and --dev-depth find candidates for the questions of --dev; give --dev")
    if name is None:
        return DevSource(examples=tuple(examples), questions=questions) if examples else None
    return DevSource(
        collection=open_named(name),
        first_stage=FirstStages(names=(first_stage or _DEV_FIRST_STAGE,)),
        depth=_DEV_DEPTH if depth is None else depth,
        questions=questions,
    )


def _facts(report: dict[str, Any], out: Path) -> list[tuple[str, str]]:
    facts = [("model", str(out)), ("kept_step", f"{report['kept_step']} of {report['steps']}")]
    if dev := report["dev"]:
        facts += [
            (f"dev {name}", f"{_POINTS * dev['start'][name]:.2f} at the start, {_POINTS * dev['kept'][name]:.2f} now")
            for name in dev["kept"]
        ]
    return facts
