"""One run of the benchmark: what is measured, on what, and what was found so far."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.contenders import Contender, Scoring, contenders, opened
from benchmarks.rounds import Round, Timed, interleaved
from benchmarks.workloads import Sizes, Workload, Workloads


class Task(NamedTuple):
    """One line of the table of one workload: `call` scores a workload and times it."""

    workload: str
    contender: Contender
    call: Callable[[Workload], Timed]


@dataclass(slots=True, kw_only=True)
class Session:
    """The settings of a run and its findings.

    :param folder: The checkpoint.
    :param short_list: Measure only those that the requirements name.
    :param only: Parts of names; contenders whose name has none of them are left out. Empty: all.
    :param pythons: Interpreters of peers by name.
    :param findings: What goes into the result file; it is written after each workload.
    """

    folder: Path
    device: str
    cache: Path
    sizes: Sizes
    rounds: int
    workloads: Workloads
    out: Path
    short_list: bool = False
    only: Sequence[str] = ()
    pythons: Mapping[str, str] = field(default_factory=dict)
    findings: dict[str, Any] = field(default_factory=dict)

    def contenders(self, group: str) -> list[Contender]:
        """Give the contenders of a group of workloads."""
        return [
            one
            for one in contenders(self.device)
            if group in (one.core if self.short_list else one.groups)
            and (not self.only or any(part in one.name for part in self.only))
        ]

    @contextmanager
    def opened(self, wanted: Sequence[Contender]) -> Iterator[dict[Contender, Scoring]]:
        """Load contenders; one that cannot be loaded is noted with its message and left out."""
        live: dict[Contender, Scoring] = {}
        with ExitStack() as stack:
            for contender in wanted:
                say(f"loading {contender.name}")
                try:
                    scoring = opened(contender, self.folder, device=self.device, cache=self.cache, pythons=self.pythons)
                except Exception as error:  # noqa: BLE001 -- a peer may fail in any way; the others go on
                    self.note(contender, "not loaded", error)
                    continue
                live[contender] = stack.enter_context(closing(scoring))
                self.note(contender, "measured", versions=getattr(scoring, "versions", None))
            yield live

    def measure(self, build: Callable[[], Workload], tasks: Sequence[Task]) -> tuple[Workload, dict[str, list[float]]]:
        """Run tasks interleaved, with new texts in each round, and keep every round.

        :return: The workload of the first round, and each contender's logits of it where a task kept them.
        """
        asked = [build() for _ in range(self.rounds)]
        first: dict[str, list[float]] = {}
        by_name = {f"{task.workload}, {task.contender.name}": task for task in tasks}
        for task in tasks:
            self.findings.setdefault("workloads", {})[task.workload] = asked[0].facts()
        for number, name, timed, load in interleaved(
            {name: lambda number, task=task: task.call(asked[number]) for name, task in by_name.items()},
            rounds=self.rounds,
            on_error=lambda name, error: self.note(
                by_name[name].contender, f"failed on {by_name[name].workload}", error
            ),
        ):
            if not number:
                first[by_name[name].contender.name] = timed.logits
            self.keep(by_name[name], number, asked[number], timed, load)
        self.save()
        return asked[0], first

    def keep(self, task: Task, number: int, asked: Workload, timed: Timed, load: float) -> None:
        """Add one round to the findings."""
        row = Round(
            workload=task.workload,
            contender=task.contender.name,
            number=number,
            seconds=timed.seconds,
            pairs=len(asked.lengths),
            tokens=sum(asked.lengths),
            latencies=timed.latencies,
            load=load,
        )
        self.findings.setdefault("rounds", []).append(row.as_json())
        say(f"{row.workload:>16}  round {number + 1}  {row.pairs / row.seconds:9.1f} pairs/s  {row.contender}")

    def note(
        self, contender: Contender, status: str, error: Exception | None = None, versions: dict[str, str] | None = None
    ) -> None:
        """Say in the findings what became of a contender."""
        facts = {"ours": contender.is_ours, "options": dict(contender.options), "exact": contender.exact,
                 "pads": contender.pads, "status": status}  # fmt: skip
        if versions:
            facts["versions"] = versions
        if error is not None:
            facts["error"] = f"{type(error).__name__}: {error}"[:500]
            say(f"{contender.name}: {status}: {facts['error']}")
        self.findings.setdefault("contenders", {})[contender.name] = facts

    def save(self) -> None:
        """Write the findings, so that an interrupted run keeps what it has."""
        part = self.out.with_suffix(".part")
        part.write_text(json.dumps(self.findings, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        part.replace(self.out)


def say(message: str) -> None:
    """Tell on standard error what is going on."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
