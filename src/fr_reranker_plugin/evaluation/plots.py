"""Pictures of an evaluation, each to be understood without the text around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fr_reranker_plugin.errors import MissingDependencyError
from fr_reranker_plugin.evaluation.report import Measured
from fr_reranker_plugin.evaluation.results import Moved, Row
from fr_reranker_plugin.evaluation.run_files import file_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, which people with any kind of colour vision tell apart."""

_MARKERS: Final = ("o", "s", "^", "D", "v", "P")
_BINS: Final = ((1, 1), (2, 3), (4, 5), (6, 10), (11, 20), (21, 50), (51, 100), (101, 10**9))
_POINTS: Final = 100
_ASIDE: Final = 0.02
_DPI: Final = 150


def draw(measured: Measured, folder: Path) -> Iterator[Path]:
    """Write the pictures of what was measured, and yield their paths.

    :raises MissingDependencyError: If matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401 -- whether it is there
    except ImportError as error:
        raise MissingDependencyError("plots need matplotlib: pip install 'fr-reranker-plugin[evaluate]'") from error
    yield _saved(_depths(measured), folder / "quality-by-depth.png")
    if any(measured.latencies.values()):
        yield _saved(_times(measured), folder / "quality-by-latency.png")
    names = file_names(measured)
    for (stage, model), curve in measured.curves.items():
        yield _saved(_curve(measured, stage, model, curve), folder / f"thresholds-{names[stage]}-{names[model]}.png")
    for row in measured.deepest_rows():
        name = f"{names[row.stage]}-{names[str(row.model)]}.png"
        if row.moved:
            yield _saved(_moves(measured, row), folder / f"moves-{name}")
        if before := measured.first_stage_row(row.stage):
            yield _saved(_questions(measured, row, before), folder / f"questions-{name}")


def _depths(measured: Measured) -> Figure:
    """Draw quality against the number of reranked passages, the first stages as dashed lines."""
    figure, axes = _figure(measured, "Quality by how many passages are reranked")
    lines = _lines(measured)
    seed = measured.evaluation.settings.seed
    for number, ((stage, model, weight), colour, marker) in enumerate(zip(lines, cycle(_COLOURS), cycle(_MARKERS))):
        rows = measured.rows_of(stage, model, weight)
        share = f", {weight:g} first stage" if weight else ""
        aside = 1 + _ASIDE * (number - (len(lines) - 1) / 2)  # so that no interval hides another
        places = [aside * _size(measured, row) for row in rows]
        means = [row.mean(measured.main_measure, seed=seed) for row in rows]
        values = [_POINTS * mean.value for mean in means]
        spread = [[_POINTS * (m.value - m.low) for m in means], [_POINTS * (m.high - m.value) for m in means]]
        axes.errorbar(places, values, yerr=spread, color=colour, marker=marker, capsize=2, elinewidth=0.8,
                      label=f"{stage} + {model}{share}")  # fmt: skip
        if not weight and (before := measured.first_stage_row(stage)):
            alone = _POINTS * before.mean(measured.main_measure, seed=seed).value
            axes.axhline(alone, color=colour, linestyle="--", linewidth=1, label=f"{stage} alone")
    axes.set_xlabel("passages of each question that are reranked")
    axes.set_ylabel(f"{measured.main_measure} × 100, with 95 % interval")
    figure.legend(fontsize=8, ncols=3, loc="outside lower center")
    return figure


def _times(measured: Measured) -> Figure:
    """Draw quality against the time of one question."""
    from matplotlib.ticker import ScalarFormatter

    figure, axes = _figure(measured, "Quality by time of one question")
    stage = measured.evaluation.stages[0]
    for (model, latencies), colour, marker in zip(measured.latencies.items(), cycle(_COLOURS), cycle(_MARKERS)):
        rows = {row.pool: row for row in measured.rows_of(stage, model)}
        times = [1000 * one.p50 for one in latencies]
        values = [_POINTS * rows[one.pool].mean(measured.main_measure, seed=0).value for one in latencies]
        axes.plot(times, values, color=colour, marker=marker, label=f"{stage} + {model}")
        for one, time, value in zip(latencies, times, values, strict=True):
            label = f"{one.pool or 'all'} passages"
            axes.annotate(label, (time, value), textcoords="offset points", xytext=(6, -12), fontsize=8)
    if before := measured.first_stage_row(stage):
        alone = _POINTS * before.mean(measured.main_measure, seed=0).value
        axes.axhline(alone, color="black", linestyle="--", linewidth=1, label=f"{stage} alone")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(ScalarFormatter())
    axes.tick_params(axis="x", which="minor", labelsize=7)
    axes.set_xlabel("milliseconds for one question (median), reranking only")
    axes.set_ylabel(f"{measured.main_measure} × 100")
    axes.legend(fontsize=8)
    return figure


def _curve(measured: Measured, stage: str, model: str, curve: Sequence[Any]) -> Figure:
    """Draw precision, recall and F1 against the threshold."""
    from fr_reranker_plugin.evaluation.thresholds import suggested

    figure, axes = _figure(measured, f"What a threshold keeps: {model} after {stage}")
    scores = [one.score for one in curve]
    for name, colour, style in zip(("precision", "recall", "f1"), _COLOURS, ("-", "--", ":"), strict=False):
        label = "F1" if name == "f1" else name
        axes.plot(scores, [_POINTS * getattr(one, name) for one in curve], color=colour, linestyle=style, label=label)
    best = suggested(curve)
    axes.axvline(best.score, color="grey", linewidth=1, label=f"best F1, at {best.score:.3g}")
    axes.set_xlabel("threshold: passages with at least this score are kept (0 to 1)")
    axes.set_ylabel("percent")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 100)
    axes.legend(fontsize=8)
    return figure


def _moves(measured: Measured, row: Row) -> Figure:
    """Draw how many relevant passages went from where to where, as a table in shades."""
    figure, axes = _figure(measured, f"Where relevant passages went: {row.model} after {row.stage}")
    deepest = max(max(move) for move in row.moved)
    bins = [one for one in _BINS if one[0] <= deepest]
    counts = [[_between(row.moved, before, after) for after in bins] for before in bins]
    axes.imshow(counts, cmap="Blues", norm="symlog" if max(map(max, counts)) > _POINTS else None)
    top = max(map(max, counts))
    for down, line in enumerate(counts):
        for right, count in enumerate(line):
            if count:
                colour = "white" if count > top / 2 else "black"
                axes.text(right, down, str(count), ha="center", va="center", fontsize=8, color=colour)
    labels = [f"{low}" if low == high else f"{low}–{min(high, deepest)}" for low, high in bins]
    axes.set_xticks(range(len(bins)), labels)
    axes.set_yticks(range(len(bins)), labels)
    axes.plot([-0.5, len(bins) - 0.5], [-0.5, len(bins) - 0.5], color=_COLOURS[1], linewidth=1)
    axes.set_xlabel("place after reranking (left of the line: moved up); numbers count relevant passages")
    axes.set_ylabel("place before, in the first stage")
    return figure


def _questions(measured: Measured, row: Row, before: Row) -> Figure:
    """Draw the change of every question, sorted: how many got better, how many worse, and by how much."""
    figure, axes = _figure(measured, f"What reranking did to each question: {row.model} after {row.stage}")
    theirs = before.values[measured.main_measure]
    changes = sorted(_POINTS * (value - theirs[one]) for one, value in row.values[measured.main_measure].items())
    groups = (
        ("worse", _COLOURS[1], [c for c in changes if c < 0]),
        ("better", _COLOURS[0], [c for c in changes if c > 0]),
    )
    same = len(changes) - sum(len(some) for _, _, some in groups)
    for name, colour, some in groups:
        start = 0 if name == "worse" else len(changes) - len(some)
        axes.bar(range(start, start + len(some)), some, width=1.0, color=colour, label=f"{len(some)} questions {name}")
    axes.plot([], [], " ", label=f"{same} questions unchanged")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel("questions, from the one that lost most to the one that gained most")
    axes.set_ylabel(f"change of {measured.main_measure} × 100")
    axes.legend(fontsize=8)
    return figure


def _figure(measured: Measured, title: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.add_subplot()
    collection = measured.evaluation.collection
    protocol = measured.evaluation.settings.protocol
    axes.set_title(f"{title}\n{collection.name}, {len(collection.qrels)} questions, protocol {protocol}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _lines(measured: Measured) -> list[tuple[str, str, float]]:
    return list(dict.fromkeys((row.stage, row.model, row.weight) for row in measured.rows if row.model is not None))


def _size(measured: Measured, row: Row) -> float:
    """Give how many passages a row reranks, on average over the questions."""
    return measured.evaluation.mean_pool_size(row.stage, row.pool)


def _between(moved: Counter[Moved], before: tuple[int, int], after: tuple[int, int]) -> int:
    return sum(
        count
        for move, count in moved.items()
        if before[0] <= move.before <= before[1] and after[0] <= move.after <= after[1]
    )


def _saved(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=_DPI)
    return path
