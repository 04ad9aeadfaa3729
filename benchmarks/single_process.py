"""What needs a process of its own: a cold start, and the peak of memory. Prints one JSON object."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

_TIMEOUT: Final = 900
_PAIR: Final = ("Où déclarer une naissance ?", "Une naissance se déclare à la mairie dans les cinq jours.")


def cold_start(who: str, folder: str, device: str) -> dict[str, float]:
    """Give the seconds from before the first import to the first score, and those of the import alone."""
    start = perf_counter()
    if who == "ours":
        from fr_reranker_plugin import ModelSettings, shared_scorer

        imported = perf_counter()
        with_scores = shared_scorer(ModelSettings(model=folder, device=device)).score([_PAIR])
    else:
        from sentence_transformers import CrossEncoder

        imported = perf_counter()
        with_scores = CrossEncoder(folder, device=device).predict([_PAIR])
    if len(with_scores) != 1:
        raise RuntimeError("expected one score")
    return {"import_seconds": imported - start, "first_score_seconds": perf_counter() - start}


def peak_memory(folder: str, device: str, pairs: int) -> dict[str, float]:
    """Give the peak resident memory in MiB after one request of `pairs` candidates (on a GPU: of its memory)."""
    from benchmarks.models import tokenizer_of
    from benchmarks.texts import FrenchTexts
    from benchmarks.workloads import SIZES, Workloads
    from fr_reranker_plugin import ModelSettings, shared_scorer

    asked = Workloads(FrenchTexts(tokenizer_of(Path(folder))), SIZES["quick"]).bulk(pairs).pairs
    scorer = shared_scorer(ModelSettings(model=folder, device=device))
    scorer.score(asked[:20])
    loaded = _forget_peak(device)
    scorer.score(asked)
    return {"pairs": pairs, "loaded_mib": loaded, "peak_mib": _peak(device)}


def in_a_fresh_process(*arguments: str) -> dict[str, Any]:
    """Run this module with `arguments` and read what it prints.

    :raises RuntimeError: If it fails; with the end of its standard error.
    """
    done = subprocess.run(  # noqa: S603 -- this module
        [sys.executable, "-m", "benchmarks.single_process", *arguments],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=_TIMEOUT, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _forget_peak(device: str) -> float:
    """Give the peak so far in MiB, and start anew where the system allows it."""
    peak = _peak(device)
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(torch.device(device))
    elif sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak


def _peak(device: str) -> float:
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(torch.device(device)) / 2**20
    if sys.platform == "linux":  # not `ru_maxrss`, which a process inherits from the one that started it
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(argv: Sequence[str] | None = None) -> None:
    """Measure one thing and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("cold-ours", "cold-sentence-transformers", "memory"))
    parser.add_argument("folder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pairs", type=int, default=100)
    options = parser.parse_args(argv)
    if options.what == "memory":
        found = peak_memory(options.folder, options.device, options.pairs)
    else:
        found = cold_start(options.what.removeprefix("cold-"), options.folder, options.device)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
