"""The options that replace values of a training recipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Final

import typer

from fr_reranker_plugin.training.recipes import Recipe, find_recipe

_PANEL: Final = "In place of the recipe's value"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOptions:
    """What was chosen on the command line; `None` leaves the recipe's value. See `Recipe`."""

    model: Annotated[
        str | None, typer.Option(help="Start: 'embedded', a folder, or a model of the Hub.", rich_help_panel=_PANEL)
    ] = None
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch on the Hub.", rich_help_panel=_PANEL)] = (
        None
    )
    loss: Annotated[
        str | None, typer.Option(help="bce, listnet, lambda, or of a teacher's scores mse, kl.", rich_help_panel=_PANEL)
    ] = None
    max_length: Annotated[
        int | None, typer.Option(help="Longest pair in tokens while training.", rich_help_panel=_PANEL)
    ] = None
    batch_size: Annotated[
        int | None,
        typer.Option(help="Pairs (bce, mse) or questions with all their passages in a step.", rich_help_panel=_PANEL),
    ] = None
    accumulation: Annotated[
        int | None, typer.Option(help="Parts of a batch, one after the other; saves memory.", rich_help_panel=_PANEL)
    ] = None
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.", rich_help_panel=_PANEL)] = None
    steps: Annotated[int | None, typer.Option(help="Steps, instead of --epochs.", rich_help_panel=_PANEL)] = None
    learning_rate: Annotated[float | None, typer.Option(help="The highest rate.", rich_help_panel=_PANEL)] = None
    schedule: Annotated[
        str | None, typer.Option(help="constant, linear or cosine after the warm-up.", rich_help_panel=_PANEL)
    ] = None
    warm_up: Annotated[
        float | None, typer.Option(help="Share of the steps, 0..1, in which the rate rises.", rich_help_panel=_PANEL)
    ] = None
    weight_decay: Annotated[float | None, typer.Option(help="Of AdamW.", rich_help_panel=_PANEL)] = None
    clip: Annotated[float | None, typer.Option(help="Longest gradient; 0 does not clip.", rich_help_panel=_PANEL)] = (
        None
    )
    precision: Annotated[
        str | None, typer.Option(help="auto, float32, bf16 or fp16; weights stay float32.", rich_help_panel=_PANEL)
    ] = None
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option(
            "--gradient-checkpointing/--no-gradient-checkpointing",
            help="Less memory, a third more time.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    seed: Annotated[int | None, typer.Option(help="Of order, dropout and a new head.", rich_help_panel=_PANEL)] = None
    eval_every: Annotated[
        int | None, typer.Option(help="Steps between two dev evaluations and checkpoints.", rich_help_panel=_PANEL)
    ] = None
    patience: Annotated[
        int | None, typer.Option(help="Dev evaluations without a new best before it stops.", rich_help_panel=_PANEL)
    ] = None
    log_every: Annotated[
        int | None, typer.Option(help="Steps between two points of the loss curve.", rich_help_panel=_PANEL)
    ] = None
    stuck_after: Annotated[
        int | None, typer.Option(help="Steps without learning anything before it stops.", rich_help_panel=_PANEL)
    ] = None

    def applied_to(self, name: str) -> Recipe:
        """Give the recipe of that name with the chosen values.

        :raises SettingsError: If there is no such recipe, or a value is not allowed.
        """
        recipe = find_recipe(name)
        chosen = {option: value for option, value in asdict(self).items() if value is not None}
        if "epochs" in chosen and "steps" not in chosen:
            chosen["steps"] = None  # of the two, the one that was given
        return replace(recipe, **chosen)
