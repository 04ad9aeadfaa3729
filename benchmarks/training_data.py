"""What the training data of the reference model costs at full size: `python -m benchmarks.training_data`.

Generates files in the true formats and of the true size, with short passages and random ids: 500,000 queries with
positives, 8.8 million passages, 50 passages from each of 13 systems for each query, and 160 million pickled scores of a
cross-encoder. Then `fr-reranker train-data mmarco` draws 2.56 million pairs of them in a process of its own, whose peak
memory must stay below 4 GB. Takes some ten gigabytes of disk and a quarter of an hour.
"""

from __future__ import annotations

import argparse
import gzip
import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np

from benchmarks.machine import machine, provenance
from benchmarks.session import say
from fr_reranker_plugin.training.mmarco import RECIPE_PAIRS
from fr_reranker_plugin.training.mmarco_files import PUBLISHED

RESULT: Final = Path(__file__).parent / "results" / "training-data.json"
ALLOWED_BYTES: Final = 4 * 10**9
_SYSTEMS: Final = ("bm25", *(f"dense-{number}" for number in range(1, 13)))
_FOUND: Final = 50
_RECORD: Final = np.dtype([("int", "S1"), ("passage", "<i4"), ("float", "S1"), ("score", ">f8")])
_AT_ONCE: Final = 1000
_CHILD: Final = """
import sys
from fr_reranker_plugin.cli import main
from fr_reranker_plugin.evaluation.latency import peak_memory
code = main(sys.argv[1:])
print(peak_memory())
sys.exit(code)
"""


def generate(folder: Path, *, queries: int, passages: int, scored: int) -> None:
    """Write the four published files.

    :param scored: Passages that the teacher read for each query, beside the positive; the systems' are among them.
    """
    path = {key: folder / Path(one.name).name for key, one in PUBLISHED.items()}
    with path["collection"].open("w") as collection, path["queries"].open("w") as questions:
        collection.writelines(f"{number}\tLe passage {number}.\n" for number in range(passages))
        questions.writelines(f"{2 * number}\tLa question {number} ?\n" for number in range(queries))
    numbers = np.random.default_rng(0)
    with (
        gzip.open(path["hard_negatives"], "wb", 1) as lines,
        gzip.open(path["scores"], "wb", 1) as scores,
    ):
        scores.write(b"\x80\x04}(")
        for number in range(queries):
            pool = numbers.integers(0, passages, scored + 1).astype("<i4")
            lines.write(_line(2 * number, pool))
            scores.write(b"J" + struct.pack("<i", 2 * number) + pickled(pool, numbers.normal(-4, 4, len(pool))))
            if number % _AT_ONCE == _AT_ONCE - 1:
                scores.write(b"u(")  # as pickle does: a thousand items at once
        scores.write(b"u.")


def pickled(passages: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> bytes:
    """Pickle `{passage: score}`, where the first passage, the positive, gets a high score."""
    records = np.empty(len(passages), _RECORD)
    records["int"], records["float"] = b"J", b"G"
    records["passage"], records["score"] = passages, scores.astype(np.float32)
    records["score"][0] = 9
    return b"}(" + records.tobytes() + b"u"


def _line(query: int, pool: np.ndarray[Any, Any]) -> bytes:
    names = list(map(str, pool.tolist()))
    steps = range(1, len(names) - _FOUND, max(1, (len(names) - _FOUND) // len(_SYSTEMS)))
    found = ", ".join(
        f'"{system}": [{", ".join(names[start : start + _FOUND])}]'
        for system, start in zip(_SYSTEMS, steps, strict=False)
    )
    return f'{{"qid": {query}, "pos": [{names[0]}], "neg": {{{found}}}}}\n'.encode()


def drawn(folder: Path, out: Path, pairs: int) -> dict[str, Any]:
    """Run the command, and tell what it made, how long it took and the most memory it held."""
    argv = ["train-data", "mmarco", "--folder", str(folder), "--out", str(out), "--examples", str(pairs), "--json"]
    start = perf_counter()
    done = subprocess.run(  # noqa: S603 -- our own command
        [sys.executable, "-c", _CHILD, *argv], stdout=subprocess.PIPE, text=True, check=True
    )
    made, _, peak = done.stdout.strip().rpartition("\n")
    return {"seconds": perf_counter() - start, "peak_bytes": int(peak), "made": {**json.loads(made), "out": out.name}}


def main(argv: Sequence[str] | None = None) -> int:
    """Generate, draw, and write the result; 1 if it took too much memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=500_000)
    parser.add_argument("--passages", type=int, default=8_841_823)
    parser.add_argument("--scored", type=int, default=320, help="scores of each query")
    parser.add_argument("--pairs", type=int, default=RECIPE_PAIRS)
    parser.add_argument("--folder", type=Path, help="keep the generated files there, and use those that are")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(argv)
    given = list(sys.argv[1:] if argv is None else argv)
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place)
        start = perf_counter()
        if not any(folder.iterdir()):
            generate(folder, queries=options.queries, passages=options.passages, scored=options.scored)
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        say(f"generated in {perf_counter() - start:.0f} s: {sizes}")
        result = drawn(folder, Path(place) / "examples.jsonl", options.pairs)
    say(f"{result['made']['pairs']:,} pairs in {result['seconds']:.0f} s, peak {result['peak_bytes'] / 1e9:.2f} GB")
    shape = {"queries": options.queries, "passages": options.passages, "scores": options.queries * (options.scored + 1)}
    report = {**provenance(given, module="benchmarks.training_data"), "machine": machine("cpu"), "shape": shape,
              "file_bytes": sizes, **result}  # fmt: skip
    options.out.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return int(result["peak_bytes"] >= ALLOWED_BYTES)


if __name__ == "__main__":
    sys.exit(main())
