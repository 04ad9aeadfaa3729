"""The report as a Markdown page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import ROUND_DOWN, Context
from typing import Any, Final

_PROTOCOLS: Final = {
    "pool": "**pool**: every relevant passage is among the candidates that are reranked, whatever a first stage found. "
    "Figures of this protocol say nothing of what a first stage misses.",
    "two-stage": "**two-stage**: what the first stage missed stays missed. *Ceiling* is the share of the relevant "
    "passages that it handed on: no reranker can find more.",
}
_UNORDERED: Final = (
    "These candidates came without an order: there is no first stage alone, and where only some are reranked, a "
    "checksum of the id decides which."
)
_AROUND_RELEVANT: Final = (
    " Lists that were put together around the relevant passages miss none of them: then these are figures of a pool."
)
_OTHER_CANDIDATES: Final = (
    "The first stage alone is measured on what it found, the models on that and on every relevant passage that it "
    "missed: the difference is not what reranking gains, and is not given."
)
_DOWN: Final = Context(prec=9, rounding=ROUND_DOWN)
_POINTS: Final = 100
_PLACES: Final = 2
_LEAST_P: Final = 0.0001
_EVERY: Final = 7
"""Of the 99 points of a threshold curve, every seventh is in the table."""


def as_markdown(report: dict[str, Any], plots: Sequence[str] = ()) -> str:
    """Give the page of a report; `plots` are the names of the pictures beside it."""
    collection = report["collection"]
    parts = [
        f"# {collection['name']}",
        f"{collection['queries']} questions, {collection['judgements']} judgements, relevant from grade "
        f"{collection['relevant_from']}. Protocol {_PROTOCOLS[report['protocol']]}",
        "Measures are means over the questions × 100, by ir-measures; in brackets the 95 % bootstrap interval.",
        *_tables(report),
        *_models_compared(report),
        *_latencies(report),
        *_thresholds(report),
        *_published(report),
        *_made_worse(report),
        *(f"![{name.removesuffix('.png').replace('-', ' ')}]({name})" for name in plots),
        *_provenance(report),
    ]
    return "\n\n".join(parts) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Give a Markdown table, the first column to the left and the others to the right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _tables(report: dict[str, Any]) -> Iterator[str]:
    for stage in dict.fromkeys(row["first_stage"] for row in report["rows"]):
        rows = [row for row in report["rows"] if row["first_stage"] == stage]
        main, *others = rows[0]["measures"]
        yield f"## First stage: {stage}"
        if rows[0]["model"] is not None:
            yield _UNORDERED + (_AROUND_RELEVANT if report["protocol"] == "two-stage" else "")
        elif report["protocol"] == "pool":
            yield _OTHER_CANDIDATES
        yield table(
            ["ranking", main, "change", "better / worse", *others, "ceiling"],
            [
                [
                    _name(row),
                    _interval(row["measures"][main]),
                    _change(row.get("change")),
                    _counts(row.get("change")),
                    *(_points(row["measures"][name]["value"]) for name in others),
                    _points(row["recall_ceiling"]) if "recall_ceiling" in row else "",
                ]
                for row in rows
            ],
        )


def _models_compared(report: dict[str, Any]) -> Iterator[str]:
    rows = [
        [f"{row['model']}, {row['first_stage']}, {row['pool'] or 'all'} passages{_weight(row)}",
         _change(row["change_from_first_model"]), _counts(row["change_from_first_model"])]
        for row in report["rows"]
        if "change_from_first_model" in row
    ]  # fmt: skip
    if rows:
        yield f"## Compared with {next(iter(report['models']))}, on the same candidates"
        yield table(["model", f"difference of {next(iter(report['rows'][0]['measures']))}", "better / worse"], rows)


def _name(row: dict[str, Any]) -> str:
    if row["model"] is None:
        return f"{row['first_stage']} alone"
    return f"{row['model']}, " + (f"first {row['pool']} reranked" if row["pool"] else "all reranked") + _weight(row)


def _weight(row: dict[str, Any]) -> str:
    return f", {row['first_stage_weight']:g} first stage" if row["first_stage_weight"] else ""


def _interval(mean: dict[str, float]) -> str:
    return f"{_points(mean['value'])} [{_points(mean['low'])}, {_points(mean['high'])}]"


def _change(change: dict[str, Any] | None) -> str:
    if change is None:
        return ""
    bounds = ", ".join(f"{_POINTS * change[name]:+.{_PLACES}f}" for name in ("low", "high"))
    return f"{_POINTS * change['value']:+.{_PLACES}f} [{bounds}], p {_probability(change['p'])}"


def _probability(p: float) -> str:
    return f"< {_LEAST_P}" if p < _LEAST_P else f"= {p:.2g}"


def _counts(change: dict[str, Any] | None) -> str:
    return "" if change is None else f"{change['queries_better']} / {change['queries_worse']}"


def _points(value: float) -> str:
    return f"{_POINTS * value:.{_PLACES}f}"


def _latencies(report: dict[str, Any]) -> Iterator[str]:
    rows = [
        [f"{model}, {one['pool'] or 'all'} passages", str(one["queries"]), f"{1000 * one['p50']:.0f}",
         f"{1000 * one['p95']:.0f}", f"{one['pairs_per_second']:.1f}"]
        for model, latencies in report["today"]["latency_seconds"].items()
        for one in latencies
    ]  # fmt: skip
    if rows:
        yield "## Time of one question"
        yield "One question after the other, nothing else at the same time. Tokens are remembered from scoring."
        yield table(["reranking", "questions", "median ms", "95 % ms", "pairs/s"], rows)


def _thresholds(report: dict[str, Any]) -> Iterator[str]:
    for found in report["thresholds"]:
        best = found["suggested"]
        yield f"## Thresholds: {found['model']} after {found['first_stage']}"
        yield (
            f"The best F1, {_points(best['f1'])}, is at a score of at least **{_at_most(best['score'])}**: that keeps "
            f"{best['kept']} passages, precision {_points(best['precision'])}, recall {_points(best['recall'])}."
        )
        if found["curve"]:
            yield _curve(found["curve"])


def _at_most(score: float) -> str:
    """Give a threshold in few digits, and never above the score: that would not keep what it does."""
    return f"{float(_DOWN.create_decimal_from_float(score)):.{_DOWN.prec}g}"


def _curve(curve: Sequence[dict[str, float]]) -> str:
    heads = ["score ≥", "kept", "precision", "recall", "F1"]
    rows = (
        [_at_most(one["score"]), str(one["kept"]), *(_points(one[name]) for name in ("precision", "recall", "f1"))]
        for one in curve[::_EVERY]
    )
    return table(heads, rows)


def _published(report: dict[str, Any]) -> Iterator[str]:
    rows = [
        [name, one["description"] + ("" if one["comparable"] else " (not comparable)"), one["measure"],
         f"{one['value']:.2f}", one["source"]]
        for name, figures in report["published"].items()
        for one in figures
    ]  # fmt: skip
    if rows:
        yield "## Published figures of these models"
        yield "Not measured here: other machines, other runs, and only what the test column names."
        yield table(["model", "test", "measure", "published × 100", "source"], rows)


def _made_worse(report: dict[str, Any]) -> Iterator[str]:
    if report["made_worse"]:
        yield "## Questions that reranking made worse"
        yield table(
            ["question", "ranking", "before", "after", "was first", "is first"],
            [
                [
                    one["text"],
                    f"{one['model']} after {one['first_stage']}, {one['pool'] or 'all'} passages",
                    _points(one["before"]),
                    _points(one["after"]),
                    _passage(one["first_before"]),
                    _passage(one["first_after"]),
                ]
                for one in report["made_worse"]
            ],
        )


def _passage(shown: dict[str, Any]) -> str:
    grade = "not judged" if shown["grade"] is None else f"grade {shown['grade']}"
    return f"{' '.join(shown['text'].split())}… ({shown['passage']}, {grade})"


def _provenance(report: dict[str, Any]) -> Iterator[str]:
    today = report["today"]
    yield "## What ran"
    for name, model in report["models"].items():
        revision = f", revision {model['revision']}" if model["revision"] else ""
        yield (
            f"- **{name}**{revision}: weights {model['fingerprint']}, {model['dtype']} by {model['backend']} on "
            f"{model['device']}, {model['max_length']} tokens; {model['pairs_scored']} pairs scored, "
            f"{model['pairs_truncated']} of them cut"
        )
    machine = today["machine"]
    memory = today["peak_memory_bytes"]["process"]
    yield (
        f"- {machine['processor']}, {machine['cores']} cores, {', '.join(machine.get('gpus', ['no GPU']))}, Python "
        f"{machine['python']}; {', '.join(f'{name} {number}' for name, number in today['versions'].items())}"
        + (f"; at most {memory / 2**20:.0f} MiB of memory" if memory else "")
    )
    yield f"- collection {report['collection']['fingerprint']}, bootstrap seed {report['seed']}"
