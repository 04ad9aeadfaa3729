"""`fr-reranker bench`: how fast a model is on this machine."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from fr_reranker_plugin.cli.model_options import ModelOptions, with_model_options
from fr_reranker_plugin.cli.printing import note, print_facts, print_json, results

_UNITS: Final = {"request_p50_ms": "ms", "request_p95_ms": "ms", "peak_memory_mib": "MiB"}
_LARGE: Final = 100
"""From here on, digits behind the point say nothing."""


@with_model_options
def bench(
    options: ModelOptions,
    *,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Try token budgets from 256 to 8192 and name the best.")
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="About how long each of the two measurements takes, and the sweep.")
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Measure how fast a model is here, on questions and passages of the French sample collection.

    First one call with many pairs, then requests of 20 passages one after another. Tokenising is included
    when a passage is read for the first time; its tokens are remembered then, as in service.
    """
    from fr_reranker_plugin.cli.bench_run import measure, try_budgets

    found = measure(options, seconds=seconds)
    if sweep:
        note("trying token budgets")
        found["sweep"] = try_budgets(options, seconds=seconds)
    if as_json:
        print_json(found)
        return
    print_facts(
        (name.removesuffix("_ms").removesuffix("_mib"), _shown(name, value))
        for name, value in found.items()
        if name != "sweep" and value is not None
    )
    if sweep:
        _print_sweep(found["sweep"])


def _shown(name: str, value: object) -> str:
    text = f"{value:,.{0 if value >= _LARGE else 3}f}" if isinstance(value, float) else str(value)
    return f"{text} {_UNITS.get(name, '')}"


def _print_sweep(sweep: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("max batch tokens", "pairs/s", "of the best", "request p50 ms"):
        table.add_column(title, justify="right", no_wrap=True)
    best = max(row["pairs_per_second"] for row in sweep["budgets"])
    for row in sweep["budgets"]:
        share = row["pairs_per_second"] / best
        table.add_row(
            str(row["max_batch_tokens"]),
            f"{row['pairs_per_second']:.1f}",
            f"{share:.0%}",
            f"{row['request_p50_ms']:.0f}",
        )
    results().print()
    results().print(table)
    results().print(f"best: --max-batch-tokens {sweep['best']}, {sweep['gain']:+.0%} against the default")
