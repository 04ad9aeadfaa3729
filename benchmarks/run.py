"""Measure our variants and the peers side by side: `python -m benchmarks.run`."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Final

import torch

from benchmarks import chaos, idle, kernels, load, machine, sharing, throughput
from benchmarks.contenders import EVERYONE
from benchmarks.models import RANDOM_BASE, RANDOM_TINY, checkpoint, default_cache, describe, tokenizer_of
from benchmarks.report import markdown
from benchmarks.session import Session, say
from benchmarks.texts import FrenchTexts
from benchmarks.workloads import SIZES, Workloads

RESULTS: Final = Path(__file__).parent / "results"
SUITES: Final = {
    "throughput": (throughput.run,),
    "concurrency": (sharing.run,),
    "load": (load.run,),
    "idle": (idle.run,),
    "chaos": (chaos.run,),
    "kernels": (kernels.run, throughput.run),
}
ALL: Final = ("throughput", "concurrency", "load", "idle", "chaos")
ON_GPU: Final = {**SUITES, "concurrency": (sharing.run, load.run, idle.run)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suites that were asked for; write the result, its table and its figures."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    _hush()
    if options.threads:
        torch.set_num_threads(options.threads)
    session = _session(options)
    session.findings |= {"format": 1, **machine.provenance(arguments), "machine": machine.machine(options.device)}
    session.findings |= {"model": {"name": options.model, **describe(session.folder)}, "rounds_each": session.rounds,
                         "sizes": options.size, "device": options.device, "suites": list(options.suite)}  # fmt: skip
    session.findings["measured_peak"] = machine.measured_peak(options.device)
    start = perf_counter()
    suites = ON_GPU if options.device.startswith("cuda") else SUITES
    for name in ALL if "all" in options.suite else options.suite:
        for part in suites[name]:
            _measured(session, part)
            session.findings["seconds"] = perf_counter() - start
            session.save()
    report = markdown(session.findings)
    session.out.with_suffix(".md").write_text(report, encoding="utf-8")
    sys.stdout.write(report)
    _draw(session)
    return int("errors" in session.findings)


def _measured(session: Session, part: Callable[[Session], None]) -> None:
    """Run one part of a suite; an error is kept in the result, and what was measured before it is not lost."""
    try:
        part(session)
    except Exception as error:
        name = part.__module__.rpartition(".")[2]
        logging.getLogger(__name__).exception("%s stopped", name)
        session.findings.setdefault("errors", {})[name] = f"{type(error).__name__}: {error}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--suite", nargs="+", choices=("all", *SUITES), default=["all"])
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    parser.add_argument("--model", default=RANDOM_BASE, help=f"{RANDOM_BASE}, {RANDOM_TINY}, embedded, or a folder")
    parser.add_argument("--size", choices=tuple(SIZES), help="how much is asked; default: default, or gpu on a GPU")
    parser.add_argument("--long", action="store_true", help="W4 with requests of 100 passages too")
    parser.add_argument("--quick", action="store_true", help="a check that all runs: tiny model, two rounds, quick")
    parser.add_argument("--rounds", type=int, help="default: 5; 2 with --quick")
    parser.add_argument("--contenders", choices=("core", "all"), help="default: core, which the requirements name; "
                        "all on a GPU and with --only")  # fmt: skip
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="only contenders with this in the name")
    parser.add_argument("--peer-python", nargs="+", default=[], metavar="NAME=PATH",
                        help="an interpreter for infinity, openvino or ctranslate2")  # fmt: skip
    parser.add_argument("--own-process", action="store_true", help="run each contender in a process of its own")
    parser.add_argument("--threads", type=int, help="torch threads; default: torch's own choice")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="for checkpoints and exported graphs")
    parser.add_argument("--out", type=Path, help="the JSON file; default: results/<device and suites>.json")
    return parser


def _session(options: argparse.Namespace) -> Session:
    if options.quick:
        options.model, options.rounds, options.size = RANDOM_TINY, options.rounds or 2, options.size or "quick"
        options.contenders = options.contenders or "all"
    options.size = options.size or ("gpu" if options.device.startswith("cuda") else "default")
    options.contenders = options.contenders or ("all" if options.only or options.device.startswith("cuda") else "core")
    folder = checkpoint(options.model, cache=options.cache)
    out = options.out or RESULTS / f"{options.device.replace(':', '')}-{'-'.join(options.suite)}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    sizes = replace(SIZES[options.size], passages=(20, 100)) if options.long else SIZES[options.size]
    return Session(
        folder=folder, device=options.device, cache=options.cache, sizes=sizes, rounds=options.rounds or 5,
        workloads=Workloads(FrenchTexts(tokenizer_of(folder)), sizes), out=out, only=options.only,
        short_list=options.contenders == "core",
        pythons=({EVERYONE: sys.executable} if options.own_process else {})
        | dict(one.split("=", 1) for one in options.peer_python),
    )  # fmt: skip


def _hush() -> None:
    """Keep the peers' progress bars and notes off the terminal."""
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    disable_progress_bar()
    set_verbosity_error()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # not errors: our own are among them


def _draw(session: Session) -> None:
    try:
        from benchmarks.figures import draw
    except ImportError as error:
        say(f"no figures: {error}; pip install 'fr-reranker-plugin[evaluate]'")
        return
    for path in draw(session.findings, session.out):
        say(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
