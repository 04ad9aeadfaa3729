"""The commands and how they are called."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer
from typer.main import get_command

from fr_reranker_plugin.cli.bench import bench
from fr_reranker_plugin.cli.calibrate import calibrate
from fr_reranker_plugin.cli.demo import demo
from fr_reranker_plugin.cli.evaluate import evaluate
from fr_reranker_plugin.cli.export import export
from fr_reranker_plugin.cli.index import index
from fr_reranker_plugin.cli.info import info
from fr_reranker_plugin.cli.questions import questions
from fr_reranker_plugin.cli.rerank import rerank
from fr_reranker_plugin.cli.rerank_dataset import rerank_dataset
from fr_reranker_plugin.cli.score import score
from fr_reranker_plugin.cli.search import search
from fr_reranker_plugin.cli.serve import serve
from fr_reranker_plugin.cli.train import train
from fr_reranker_plugin.cli.train_data import train_data
from fr_reranker_plugin.cli.verify import verify

app = typer.Typer(
    name="fr-reranker",
    help="Rerank French passages with a cross-encoder.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(version("fr-reranker-plugin"))
        raise typer.Exit


@app.callback()
def _program(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Rerank French passages with a cross-encoder.

    Results go to standard output, everything else to standard error. A private model of the Hugging Face Hub is opened
    with the token in the environment variable HF_TOKEN.
    """


for command in (
    rerank, rerank_dataset, score, index, search, serve, info, demo, evaluate, calibrate, verify, bench, export, train
):  # fmt: skip
    app.command()(command)
train_data.command()(questions)
app.add_typer(train_data)


def run(argv: Sequence[str] | None) -> int:
    """Run the command that `argv` names and give its exit code; usage errors are printed here."""
    try:
        get_command(app).main(args=None if argv is None else list(argv), prog_name="fr-reranker")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
