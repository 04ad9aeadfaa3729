"""From the rounds of a result file to one table per workload: medians, quartiles and ratios to the reference."""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.contenders import REFERENCE
from benchmarks.rounds import Spread, spread

Findings = Mapping[str, Any]
_MILLISECONDS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One contender in one workload.

    :param pairs_per_second: Over the rounds.
    :param tokens_per_second: Median useful tokens per second: after the cut, without padding.
    :param ratio: Median over the rounds of pairs/s divided by the reference's in the same round; `None` without it.
    :param p50: Median seconds of one request, over all rounds; `p95` alike.
    """

    contender: str
    pairs_per_second: Spread
    tokens_per_second: float
    ratio: Spread | None
    p50: float | None
    p95: float | None


def lines(findings: Findings, workload: str, *, reference: str = REFERENCE) -> list[Line]:
    """Summarise one workload, fastest first."""
    rounds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in findings.get("rounds", []):
        if one["workload"] == workload:
            rounds[one["contender"]].append(one)
    known = {one["number"]: one["pairs"] / one["seconds"] for one in rounds.get(reference, [])}
    found = [_line(name, some, known) for name, some in rounds.items()]
    return sorted(found, key=lambda line: -line.pairs_per_second.median)


def speed(findings: Findings, workload: str, contender: str) -> float | None:
    """Give the median pairs per second of a contender in a workload, if it was measured."""
    return next(
        (line.pairs_per_second.median for line in lines(findings, workload) if line.contender == contender), None
    )


def ratio(findings: Findings, over: tuple[str, str], under: tuple[str, str]) -> float | None:
    """Give the median over the rounds of one (workload, contender)'s pairs/s divided by another's."""
    speeds = []
    for workload, contender in (over, under):
        speeds.append({
            one["number"]: one["pairs"] / one["seconds"]
            for one in findings.get("rounds", [])
            if (one["workload"], one["contender"]) == (workload, contender)
        })  # fmt: skip
    both = speeds[0].keys() & speeds[1].keys()
    return statistics.median(speeds[0][number] / speeds[1][number] for number in both) if both else None


def markdown(findings: Findings) -> str:
    """Give the whole report."""
    parts = ["# Benchmark", _provenance(findings)]
    for workload in dict.fromkeys(one["workload"] for one in findings.get("rounds", [])):
        parts += [f"## {workload}", _about(findings, workload), _table(findings, workload)]
    for title, key in (("Late request", "late_request"), ("Open loop", "load"), ("Idle", "idle"),
                       ("Cold process", "cold"), ("Memory", "memory"), ("Chaos", "chaos"),
                       ("Ranking quality", "fidelity"), ("Token budget", "sweep"), ("Errors", "errors")):  # fmt: skip
        if key in findings:
            parts += [f"## {title}", _as_list(findings[key])]
    absent = [f"- {name}: {one['status']}: {one['error']}" for name, one in findings.get("contenders", {}).items()
              if "error" in one]  # fmt: skip
    if absent:
        parts += ["## Not measured", "\n".join(absent)]
    return "\n\n".join(parts) + "\n"


def _line(name: str, rounds: Sequence[Mapping[str, Any]], reference: Mapping[int, float]) -> Line:
    speeds = [one["pairs"] / one["seconds"] for one in rounds]
    ratios = [one["pairs"] / one["seconds"] / reference[one["number"]] for one in rounds if one["number"] in reference]
    latencies = [seconds for one in rounds for seconds in one["latencies"]]
    p50, p95 = np.percentile(latencies, [50, 95]) if latencies else (None, None)
    return Line(
        contender=name,
        pairs_per_second=spread(speeds),
        tokens_per_second=statistics.median(one["tokens"] / one["seconds"] for one in rounds),
        ratio=spread(ratios) if ratios else None,
        p50=p50,
        p95=p95,
    )


def _provenance(findings: Findings) -> str:
    machine, model = findings["machine"], findings["model"]
    changed = " with uncommitted changes" if findings.get("uncommitted_changes") else ""
    peak = ", ".join(f"{name} {flops / 1e9:,.0f} GFLOP/s" for name, flops in findings["measured_peak"].items())
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    rows = [
        f"`{findings['command']}`",
        f"{findings['date']}, commit {findings['commit']}{changed}, {findings.get('seconds', 0) / 60:.0f} minutes",
        f"{machine['processor']}, {machine['cores']} cores ({' '.join(machine['flags'])}), "
        f"{machine['torch_threads']} torch threads, load average {machine['load_average_at_start'][0]:.2f} at the start"
        + (f", {machine['gpu']['name']}" if "gpu" in machine else ""),
        f"Peak of a large matrix product here: {peak}",
        f"Model {model['name']}: {model['family']}, {model['num_hidden_layers']} layers of {model['hidden_size']}, "
        f"{model['vocab_size']} pieces; sizes `{findings['sizes']}`, {findings['rounds_each']} interleaved rounds",
        f"Python {machine['python']}, {versions}",
        "Tokenising is included everywhere. Medians over the rounds, with quartiles in brackets; × is the ratio to "
        f"{REFERENCE} with its defaults (fp32, batch 32), taken inside each round.",
    ]
    return "\n".join(f"- {row}" for row in rows)


def _about(findings: Findings, workload: str) -> str:
    facts = findings["workloads"][workload]
    return (
        f"{facts['what']}: {facts['requests']} requests, {facts['pairs']} pairs, mean {facts['mean_tokens']} tokens "
        f"(p50 {facts['p50_tokens']:.0f}, p95 {facts['p95_tokens']:.0f})."
    )


def _table(findings: Findings, workload: str) -> str:
    head = ("contender", "pairs/s", "×", "useful tokens/s", "useful/computed", "request p50 ms", "p95 ms",
            "logit diff. max", "p99", "Kendall τ")  # fmt: skip
    efficiency = findings.get("efficiency", {}).get(workload, {})
    near = findings.get("agreement", {}).get(workload, {})
    rows = [head, tuple("---" if at == 0 else "---:" for at in range(len(head)))]
    for line in lines(findings, workload):
        agreed = near.get(line.contender, {})
        rows.append((
            line.contender, _spread(line.pairs_per_second, ".1f"), _spread(line.ratio, ".2f"),
            f"{line.tokens_per_second:,.0f}", _number(efficiency.get(line.contender), ".3f"),
            _number(line.p50, ",.1f", _MILLISECONDS), _number(line.p95, ",.1f", _MILLISECONDS),
            _number(agreed.get("max"), ".1e"), _number(agreed.get("p99"), ".1e"),
            _number(agreed.get("kendall_tau"), ".3f"),
        ))  # fmt: skip
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _spread(value: Spread | None, form: str) -> str:
    return "" if value is None else f"{value.median:{form}} [{value.low:{form}}, {value.high:{form}}]"


def _number(value: float | None, form: str, scale: float = 1) -> str:
    return "" if value is None else f"{value * scale:{form}}"


def _as_list(value: object) -> str:
    """Show nested findings as a list, numbers to four digits."""

    def shown(one: object) -> str:
        if isinstance(one, Mapping):
            return ", ".join(f"{name} {shown(inner)}" for name, inner in one.items())
        if isinstance(one, list):
            return "; ".join(map(shown, one))
        return f"{one:.4g}" if isinstance(one, float) else str(one)

    if not isinstance(value, Mapping):
        return f"- {shown(value)}"
    return "\n".join(f"- {name}: {shown(one)}" for name, one in value.items())


if __name__ == "__main__":
    import json

    sys.stdout.write(markdown(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
