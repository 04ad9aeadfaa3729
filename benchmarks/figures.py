"""The pictures of a result: speed of all contenders, and latency under load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.report import Line, lines

_OURS, _PEERS = "#1f4e8c", "#b0b7c3"
_SPEED: Final = ("W1", "k20", "W2", "W3")
_PERCENTILES: Final = ("p50", "p95", "p99")


def draw(findings: Mapping[str, Any], result: Path) -> Iterator[Path]:
    """Write one PNG per kind of workload beside the result file, and yield their paths."""
    present = list(dict.fromkeys(one["workload"] for one in findings.get("rounds", [])))
    shared = max((name for name in present if name.endswith("threads")), key=_callers, default=None)
    for stem, names in (("speed", [n for n in _SPEED if n in present]), ("shared", [shared] if shared else [])):
        if names:
            yield _save(_bars(findings, names), result, stem)
    if "load" in findings:
        yield _save(_latencies(findings["load"]), result, "load")


def _callers(workload: str) -> int:
    return int(workload.split()[1])


def _bars(findings: Mapping[str, Any], workloads: list[str]) -> Figure:
    """Draw pairs per second, median with quartiles, one panel per workload."""
    rows = max(len(lines(findings, name)) for name in workloads)
    columns = min(2, len(workloads))
    lines_of_panels = -(-len(workloads) // columns)
    figure = Figure(figsize=(7 * columns, lines_of_panels * (1.2 + 0.3 * rows)), layout="constrained")
    for number, name in enumerate(workloads, start=1):
        axes = figure.add_subplot(lines_of_panels, columns, number)
        _panel(axes, lines(findings, name)[::-1], {who for who, one in findings["contenders"].items() if one["ours"]})
        axes.set_title(f"{name}: {findings['workloads'][name]['what']}", fontsize=9)
    return figure


def _panel(axes: Axes, some: list[Line], ours: set[str]) -> None:
    medians = [line.pairs_per_second.median for line in some]
    low = [line.pairs_per_second.median - line.pairs_per_second.low for line in some]
    high = [line.pairs_per_second.high - line.pairs_per_second.median for line in some]
    colours = [_OURS if line.contender in ours else _PEERS for line in some]
    bars = axes.barh([line.contender for line in some], medians, xerr=[low, high], color=colours)
    labels = [f"{line.pairs_per_second.median:.1f}" + (f"  ×{line.ratio.median:.1f}" if line.ratio else "")
              for line in some]  # fmt: skip
    axes.bar_label(bars, labels, padding=6, fontsize=8)
    axes.set_xlim(0, 1.3 * max(medians))
    axes.set_xlabel("pairs per second (more is better)")
    axes.spines[["top", "right"]].set_visible(False)


def _latencies(load: Mapping[str, Any]) -> Figure:
    """Draw latency against offered load."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    loads = load["loads"]
    for percentile in _PERCENTILES:
        axes.plot(list(loads), [1000 * one[percentile] for one in loads.values()], marker="o", label=percentile)
    axes.set_xlabel("offered load, share of the capacity with 16 callers")
    axes.set_ylabel("milliseconds from when a request was due")
    axes.set_ylim(bottom=0)
    axes.set_title(f"Requests of 20 passages at Poisson times: {load['contender']}", fontsize=9)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _save(figure: Figure, result: Path, stem: str) -> Path:
    path = result.with_name(f"{result.stem}-{stem}.png")
    figure.savefig(path, dpi=130)
    return path
