"""The options that say which model is used, and how: the same for every command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, cast

import typer

from fr_reranker_plugin.cli.shared_options import with_options_of
from fr_reranker_plugin.scoring.settings import EMBEDDED, Backend, BatchSettings, DType, ModelSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """What was chosen on the command line; each field is one option.

    :raises SettingsError: If a value is not allowed.
    """

    model: Annotated[
        str, typer.Option(help="'embedded', a folder, or a model of the Hugging Face Hub.", rich_help_panel="Model")
    ] = EMBEDDED
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch on the Hub.", rich_help_panel="Model")] = (
        None
    )
    device: Annotated[
        str | None,
        typer.Option(
            help="cpu, cuda, cuda:1 or mps, several with commas; default: a GPU if there is one.",
            rich_help_panel="Model",
        ),
    ] = None
    dtype: Annotated[
        str,
        typer.Option(help="auto, float32, float16, bfloat16 or int8; auto suits the device.", rich_help_panel="Model"),
    ] = "auto"
    backend: Annotated[str, typer.Option(help="auto, torch or onnx; auto is torch.", rich_help_panel="Model")] = "auto"
    max_length: Annotated[
        int | None, typer.Option(help="Longest pair in tokens; longer ones are cut.", rich_help_panel="Model")
    ] = None
    max_batch_tokens: Annotated[
        int | None, typer.Option(help="Tokens in one forward pass; less needs less memory.", rich_help_panel="Model")
    ] = None
    local_files_only: Annotated[
        bool, typer.Option("--local-files-only", help="Never ask the Hub.", rich_help_panel="Model")
    ] = False

    def __post_init__(self) -> None:
        self.model_settings()
        self.batch_settings()

    def model_settings(self) -> ModelSettings:
        """Give the settings of the cross-encoder."""
        return ModelSettings(
            model=self.model,
            revision=self.revision,
            device=self.device if self.device is None else self.device.split(","),
            dtype=cast("DType", self.dtype),  # the settings check it
            backend=cast("Backend", self.backend),
            max_length=self.max_length,
            local_files_only=self.local_files_only,
        )

    def encoder_settings(self, encoder: str) -> ModelSettings:
        """Give the settings of a bi-encoder beside the cross-encoder: on its device, the first of several."""
        device = self.model_settings().devices[0]
        return ModelSettings(model=encoder, device=device, local_files_only=self.local_files_only)

    def batch_settings(self) -> BatchSettings:
        """Give the settings of the batches."""
        return BatchSettings(max_batch_tokens=self.max_batch_tokens)


def with_model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the options of `ModelOptions`, which it receives as its first argument."""
    return with_options_of(ModelOptions)(command)
