"""What the scorer must show, each line with what a result file says: `python -m benchmarks.gates RESULT.json …`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.contenders import LOCKED, ORT_INT8, REFERENCE, TUNED_HALF
from benchmarks.report import lines, ratio
from benchmarks.sharing import BULK, name_of

Findings = Mapping[str, Any]


class Gate(NamedTuple):
    """One requirement.

    :param measured: What was found, in words; of the best variant where there are several.
    :param met: `None` if the result file has no such measurement.
    """

    required: str
    measured: str
    met: bool | None


def gates(findings: Findings) -> Iterator[Gate]:
    """Check everything that a result file can tell."""
    ours = {name: one for name, one in findings.get("contenders", {}).items() if one["ours"]}
    exact = [name for name, one in ours.items() if one["exact"]]
    on_gpu = str(findings.get("device", "")).startswith("cuda")
    half = [name for name, one in ours.items() if one["options"].get("dtype") == "float16"]
    yield from _gpu_speed(findings, half) if on_gpu else _cpu_speed(findings, ours, exact)
    yield _most("fp32: greatest logit difference from CrossEncoder.predict", 1e-4, _differences(findings, exact))
    yield _most("int8: nDCG@10 lost on a collection, in points", 0.5, _lost(findings.get("fidelity", {})))
    yield from _shared(findings, half if on_gpu else exact, times=5 if on_gpu else 3)
    yield from _padding(findings, ours)
    yield from _once(findings)


def _cpu_speed(findings: Findings, ours: Findings, exact: Sequence[str]) -> Iterator[Gate]:
    int8 = [name for name, one in ours.items() if one["options"].get("dtype") == "int8"]
    for workload in ("W1", "k20"):
        yield _least(f"fp32: pairs/s on {workload} against sentence-transformers", 2.5,
                     _ratios(findings, exact, workload, (workload, REFERENCE)))  # fmt: skip
    yield _least("int8: pairs/s on W1 against sentence-transformers", 9,
                 _ratios(findings, int8, "W1", ("W1", REFERENCE)))  # fmt: skip
    yield _least("int8: pairs/s on W1 against plain ONNX Runtime int8", 1.3,
                 _ratios(findings, int8, "W1", ("W1", ORT_INT8)))  # fmt: skip


def _gpu_speed(findings: Findings, half: Sequence[str]) -> Iterator[Gate]:
    for workload, least in (("W1", 2.4e6), ("W3", 2.0e6)):
        speeds = {line.contender: line.tokens_per_second for line in lines(findings, workload)}
        yield _least(f"H200, fp16: useful tokens/s on {workload}", least, {name: speeds.get(name) for name in half})
    yield _least("fp16: pairs/s on W1 against sentence-transformers fp16 at its best batch size", 2,
                 _ratios(findings, half, "W1", ("W1", TUNED_HALF)))  # fmt: skip
    waits = [one["latencies"] for one in findings.get("rounds", [])
             if one["workload"] == name_of(64) and one["contender"] in half]  # fmt: skip
    p99 = {"": 1000 * float(np.percentile(np.concatenate(waits), 99))} if waits else {}
    yield _most("64 callers of 20 passages: p99 in milliseconds", 15, p99)


def _shared(findings: Findings, names: Sequence[str], *, times: float) -> Iterator[Gate]:
    everyone = [one["workload"] for one in findings.get("rounds", []) if one["contender"] == LOCKED]
    workload = everyone[0] if everyone else name_of(16)
    callers = workload.removeprefix("W4 ").removesuffix(" threads")
    own = {name: ratio(findings, (workload, name), (BULK, name)) for name in names}
    yield _least(f"{callers} callers: share of the same pairs in one call (the worst)", 0.95, _worst(own))
    yield _least(f"{callers} callers: pairs/s against a shared CrossEncoder behind a lock", times,
                 _ratios(findings, names, workload, (workload, LOCKED)))  # fmt: skip
    late = {name: -one["batch_times"] for name, one in findings.get("late_request", {}).items() if name in names}
    yield _most("10 pairs behind 1,000: batch times until the answer (the worst)", 3,
                {name: -value for name, value in _worst(late).items()})  # fmt: skip


def _worst(values: Mapping[str, float | None]) -> dict[str, float]:
    """Keep only the least value."""
    known = [(name, value) for name, value in values.items() if value is not None]
    return dict(sorted(known, key=lambda item: item[1])[:1])


def _padding(findings: Findings, ours: Findings) -> Iterator[Gate]:
    for pads, least in ((False, 0.98), (True, 0.93)):
        values = {
            f"{name}, {workload}": found[name]
            for workload, found in findings.get("efficiency", {}).items()
            for name, one in ours.items()
            if workload in ("W1", "k20") and name in found and one["pads"] == pads
        }
        kind = "padded" if pads else "packed"
        yield _least(f"useful/computed tokens, {kind} engines, W1 and k20 (the worst)", least, _worst(values))


def _once(findings: Findings) -> Iterator[Gate]:
    idle = findings.get("idle")
    yield _most("idle single request: milliseconds over the bare forward", 1.0,
                {"paired": idle["paired_difference_ms"]} if idle else {})  # fmt: skip
    memory = findings.get("memory")
    grown = {"": memory[1]["peak_mib"] / memory[0]["peak_mib"]} if memory else {}
    yield _most("peak memory of 1,000 candidates over that of 100", 1.10, grown)
    yield Gate("10,000 mixed requests: resident memory grows by < 2 %", "not of this run: see `make stress`", None)
    yield from map(_chaos, findings.get("chaos", {"": None}).items())


def _chaos(found: tuple[str, Findings | None]) -> Gate:
    name, chaos = found
    required = f"chaos ({name or 'W9'}): nothing hangs, nobody else fails, every future resolved, no wrong logit"
    if chaos is None:
        return Gate(required, "not measured", None)
    faults = ("hung", "unanswered", "innocent_failed", "wrong_logits", "left_waiting",
              "poisoned_without_scoring_error")  # fmt: skip
    counted = ", ".join(f"{name.replace('_', ' ')} {chaos[name]}" for name in faults)
    measured = f"{counted}; throughput loss {chaos['throughput_loss']:.0%}"
    return Gate(required, measured, all(chaos[name] == 0 for name in faults))


def _ratios(findings: Findings, names: Iterable[str], workload: str, under: tuple[str, str]) -> dict[str, float | None]:
    return {name: ratio(findings, (workload, name), under) for name in names}


def _differences(findings: Findings, exact: Sequence[str]) -> dict[str, float]:
    """Give the greatest difference of any exact variant in any workload: all must hold."""
    found = {
        f"{name}, {workload}": near[name]["max"]
        for workload, near in findings.get("agreement", {}).items()
        for name in exact
        if name in near
    }
    return dict([max(found.items(), key=lambda item: item[1])]) if found else {}


def _lost(fidelity: Findings) -> dict[str, float]:
    """Give the greatest loss of any int8 variant on any collection."""
    lost = {f"{who}, {name}": one["lost_points"] for name, found in fidelity.items() for who, one in found.items()
            if "int8" in who and "lost_points" in one}  # fmt: skip
    return dict([max(lost.items(), key=lambda item: item[1])]) if lost else {}


def _least(required: str, least: float, values: Mapping[str, float | None]) -> Gate:
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        return Gate(f"{required} ≥ {least}", "not measured", None)
    name, value = max(known.items(), key=lambda item: item[1])
    return Gate(f"{required} ≥ {least}", f"{value:.3g} ({name})", value >= least)


def _most(required: str, most: float, values: Mapping[str, float]) -> Gate:
    if not values:
        return Gate(f"{required} ≤ {most}", "not measured", None)
    name, value = min(values.items(), key=lambda item: item[1])
    return Gate(f"{required} ≤ {most}", f"{value:.3g}" + (f" ({name})" if name else ""), value <= most)


def merged(of_files: Sequence[Iterable[Gate]]) -> list[Gate]:
    """Put the lines of several result files together: what any file knows replaces an unknown."""
    found: dict[str, list[Gate]] = {}
    for some in of_files:
        for gate in some:
            found.setdefault(gate.required, []).append(gate)
    return [gate for same in found.values() for gate in ([one for one in same if one.met is not None] or same[:1])]


def main(paths: Sequence[str] | None = None) -> int:
    """Print each line for the findings of all files together; 1 if one is not met."""
    results = [
        json.loads(Path(path).read_text(encoding="utf-8")) for path in (sys.argv[1:] if paths is None else paths)
    ]
    words = {True: "met", False: "NOT MET", None: "unknown"}
    found = merged([gates(findings) for findings in results])
    for gate in found:
        sys.stdout.write(f"{words[gate.met]:>8}  {gate.required}: {gate.measured}\n")
    for findings in results:
        if "command" in findings:
            sys.stdout.write(
                f"\n{findings['command']}, {findings['date']}, commit {findings['commit']}, "
                f"model {findings['model']['name']}, {findings['rounds_each']} rounds\n"
            )
    return int(any(gate.met is False for gate in found))


if __name__ == "__main__":
    sys.exit(main())
