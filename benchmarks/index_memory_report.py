"""From the findings about index kinds to one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_PACKAGES: Final = ("fr-reranker-plugin", "faiss-cpu", "numpy")
_COLUMNS: Final = ("kind", "vectors", "build s", "vectors MiB", "documents MiB", "open s", "resident MiB", "mapped MiB",
                   "… after queries", "… own", "ms/query", "mapped", "recall@10")  # fmt: skip
_INTRODUCTION: Final = """\
Random unit vectors of {dimension} dimensions around random centres, one centre for every hundred; real passages are
clustered otherwise, so compare the recall of the kinds with each other. {queries} queries, one at a time, ten results,
median. Building is adding everything in one call, and saving. Sizes are those of the two files; texts are some ten
characters long. Memory is what the process holds beyond the bare interpreter with FAISS, after opening; for indexes
that are memory-mapped also after the queries, and the part of that which other processes cannot share.
"""


def markdown(findings: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the page: where each case was measured, the table, and what to know of single cases."""
    cases = sorted(findings.values(), key=lambda case: int(case["vectors"]))
    first = cases[0]
    lines = ["# Memory of an index", ""]
    lines += [_INTRODUCTION.format_map(first), *_where(cases), ""]
    lines += [_row(_COLUMNS), _row(("---", *["---:"] * (len(_COLUMNS) - 1)))]
    lines += [_row(_cells(case)) for case in cases if "left_out" not in case]
    remarks = [f"- `{case['kind']}` with {case['vectors']:,}: {case[name]}." for case in cases
               for name in ("left_out", "remark") if name in case]  # fmt: skip
    return "\n".join([*lines, *([""] if remarks else []), *remarks]) + "\n"


def _where(cases: list[Mapping[str, Any]]) -> list[str]:
    runs = {case["command"]: _run(case) for case in sorted(cases, key=lambda case: str(case["date"]))}
    return [f"- `{command}`: {run}" for command, run in runs.items()]


def _run(case: Mapping[str, Any]) -> str:
    machine = case["machine"]
    changes = " with uncommitted changes" if case["uncommitted_changes"] else ""
    versions = [f"{name} {machine['versions'][name]}" for name in _PACKAGES if name in machine["versions"]]
    return (
        f"{case['date']}, commit {case['commit']}{changes}, {machine['processor']}, {machine['cores']} cores, "
        f"load average {machine['load_average_at_start'][0]:.2f} at the start, Python {machine['python']}, "
        + ", ".join(versions)
    )


def _cells(case: Mapping[str, Any]) -> tuple[str, ...]:
    plain, mapped = case["plain"], case["mapped"]
    whole = (plain["opened_mib"], mapped["opened_mib"], mapped["searched_mib"], mapped["own_mib"])
    return (
        case["kind"],
        f"{case['vectors']:,}",
        f"{case['build_seconds']:.1f}",
        f"{case['vectors_mib']:,.0f}",
        f"{case['documents_mib']:,.0f}",
        f"{plain['open_seconds']:.1f}",
        *(f"{value:,.0f}" for value in whole),
        f"{plain['query_milliseconds']:.1f}",
        f"{mapped['query_milliseconds']:.1f}",
        f"{plain['recall_at_10']:.3f}",
    )


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
