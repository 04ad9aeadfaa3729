"""`fr-reranker verify`: whether a model gives the same scores here as in other libraries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fr_reranker_plugin.cli.model_options import ModelOptions, with_model_options
from fr_reranker_plugin.cli.printing import one_line, print_json, results
from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.settings import EMBEDDED

if TYPE_CHECKING:
    from fr_reranker_plugin.evaluation.verification import LoaderResult, Verification


@with_model_options
def verify(
    options: ModelOptions,
    name: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="The same as --model.", show_default=False)
    ] = None,
    *,
    others: Annotated[bool, typer.Option(help="Score with sentence-transformers and FlagEmbedding too.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Score fixed French pairs with every engine that is here and with other libraries, and compare the scores.

    Prints how far each is from plain transformers in float32, and whether it keeps to its gate; the exit code is 1 if
    one does not. --dtype and --backend try one engine alone. Models are exported for ONNX Runtime if it is installed.
    """
    from rich.console import Console

    from fr_reranker_plugin.cli.scoring import silence_libraries
    from fr_reranker_plugin.evaluation import verification

    options = _with_model(options, name)
    silence_libraries()
    with Console(stderr=True).status("") as status:
        found = verification.verify(
            options.model_settings(),
            options.batch_settings(),
            others=others,
            progress=lambda loader: status.update(one_line(f"scoring with {loader}")),
        )
    if as_json:
        print_json(_as_json(found))
    else:
        _print_table(found)
    if not found.passed:
        raise typer.Exit(1)


def _with_model(options: ModelOptions, name: str | None) -> ModelOptions:
    """Take the model from the argument, if there is one."""
    if name is None:
        return options
    if options.model not in (EMBEDDED, name):
        raise SettingsError(f"name one model, got {name!r} and --model {options.model!r}")
    return replace(options, model=name)


def _as_json(found: Verification) -> dict[str, Any]:
    return {
        "model": found.model,
        "revision": found.revision,
        "device": found.device,
        "max_length": found.max_length,
        "pairs": found.pairs,
        "equal_tokens": found.equal_tokens,
        "reference": "transformers float32",
        "loaders": [
            {
                "loader": one.loader,
                "dtype": one.dtype,
                "gate": str(one.gate),
                "passed": one.passed,
                "reason": one.reason,
                "differences": None if one.agreement is None else one.agreement._asdict(),
                "lost_points": dict(one.lost_points),
            }
            for one in found.loaders
        ],
        "passed": found.passed,
    }


def _print_table(found: Verification) -> None:
    from rich.table import Table

    console = results()
    console.print(
        one_line(f"{found.model} on {found.device}: {found.pairs} French pairs, compared with transformers in float32")
    )
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("loader", "dtype"):
        table.add_column(title, no_wrap=True)
    for title in ("pairs", "logit\nmax", "\nmean", "score\nmax", "\ntau", "inver-\nsions", "points\nlost"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("gate")
    table.add_column("", no_wrap=True)
    for one in found.loaders:
        table.add_row(one.loader, one.dtype, *_figures(one), str(one.gate), _verdict(one))
    console.print(table)
    for one in found.loaders:
        if one.reason is not None:
            console.print(one_line(f"{one.loader}, {one.dtype}: {one.reason}"))
    console.print(f"tokens: {found.equal_tokens} of {found.pairs} pairs equal those of transformers")
    console.print("passed" if found.passed else "FAILED", style="green" if found.passed else "red")


def _figures(one: LoaderResult) -> list[str]:
    """Give the cells of a loader's differences; none where it gave no scores."""
    near = one.agreement
    if near is None:
        return [""] * 7
    return [
        str(near.pairs),
        f"{near.max:.1e}",
        f"{near.mean:.1e}",
        f"{near.score_max:.1e}",
        "" if near.kendall_tau is None else f"{near.kendall_tau:.3f}",
        str(near.inversions),
        f"{max(one.lost_points.values()):.1f}",
    ]


def _verdict(one: LoaderResult) -> str:
    return {True: "pass", False: "FAIL", None: "–"}[one.passed]
