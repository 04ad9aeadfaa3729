"""What each kind of index costs in memory, disk and time: `python -m benchmarks.index_memory --sizes 100000`.

The vectors are random unit vectors of 384 dimensions around random centres, one centre for every hundred of them, with
a fixed seed; queries are drawn alike. Real passages are clustered otherwise: take recall as a comparison of the kinds
with each other. One fresh process builds and saves an index, one opens it, one opens it memory-mapped. Every case adds
to the result file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final, get_args

import numpy as np

from benchmarks.index_memory_report import markdown
from benchmarks.machine import machine, provenance
from fr_reranker_plugin import DenseIndex, IndexSettings, StoredDocument
from fr_reranker_plugin.retrieval.faiss_loading import load_faiss
from fr_reranker_plugin.retrieval.index_settings import IndexKind
from fr_reranker_plugin.retrieval.vectors import Vectors

RESULT: Final = Path(__file__).parent / "results" / "index-memory.json"
_DIMENSION: Final = 384
_K: Final = 10
_QUERIES: Final = 100
_PER_CENTRE: Final = 100
_NOISE: Final = 1.2
_DRAWN_AT_ONCE: Final = 16_384
_LONGEST_BUILD: Final = 300
_TIMEOUT: Final = 900
_MIB: Final = 2**20


def drawn(count: int, size: int, *, seed: int) -> Iterator[Vectors]:
    """Yield `count` vectors, some at a time, around the centres of an index of `size` vectors.

    :param seed: Of the vectors; the centres depend on `size` alone.
    """
    centres = np.random.default_rng(0).standard_normal((max(1, size // _PER_CENTRE), _DIMENSION), dtype=np.float32)
    random = np.random.default_rng(seed)
    for start in range(0, count, _DRAWN_AT_ONCE):
        some = min(_DRAWN_AT_ONCE, count - start)
        vectors = _NOISE * random.standard_normal((some, _DIMENSION), dtype=np.float32)
        vectors += centres[random.integers(0, len(centres), some)]
        yield vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def build(folder: Path, kind: IndexKind, size: int) -> dict[str, Any]:
    """Build and save an index, and the truth beside it; tell the seconds of adding and saving and the sizes in MiB."""
    vectors = np.concatenate(list(drawn(size, size, seed=1)))
    documents = [StoredDocument(str(place), f"passage {place}") for place in range(size)]
    start = perf_counter()
    with DenseIndex.create(folder, settings=IndexSettings(dimension=_DIMENSION, kind=kind)) as index:
        index.add(documents, vectors)
        index.save()
    seconds = perf_counter() - start
    np.save(folder / "nearest.npy", _nearest(vectors, _queries(size)))
    files = {suffix: next(folder.glob(f"*.{suffix}")).stat().st_size / _MIB for suffix in ("faiss", "sqlite")}
    return {"build_seconds": seconds, "vectors_mib": files["faiss"], "documents_mib": files["sqlite"]}


def open_and_ask(folder: Path, size: int, *, memory_map: bool) -> dict[str, Any]:
    """Open an index and ask one question after another; memory is what is resident beyond the bare process, in MiB.

    `own_mib` is the part that no other process can share.
    """
    queries = _queries(size)
    load_faiss()
    before, start = _resident(), perf_counter()
    with DenseIndex.open(folder, read_only=True, memory_map=memory_map, device="cpu") as index:
        opened = {"open_seconds": perf_counter() - start, "opened_mib": _resident()[0] - before[0]}
        for query in queries[: _QUERIES // 5]:
            index.search(query[None], _K)
        asked = [_timed_search(index, query[None]) for query in queries]
        after = _resident()
    truth = np.load(folder / "nearest.npy").tolist()
    shared = [len({*found} & {*best}) / _K for (_, found), best in zip(asked, truth, strict=True)]
    milliseconds = float(np.median([seconds for seconds, _ in asked])) * 1000
    return opened | {
        "searched_mib": after[0] - before[0],
        "own_mib": after[1] - before[1],
        "query_milliseconds": milliseconds,
        "recall_at_10": float(np.mean(shared)),
    }


def measure(kind: IndexKind, size: int) -> dict[str, Any]:
    """Measure one case, each step in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        case = ("--folder", folder, "--kinds", kind, "--sizes", str(size))
        return {
            "kind": kind,
            "vectors": size,
            **_in_a_fresh_process("build", *case),
            "plain": _in_a_fresh_process("plain", *case),
            "mapped": _in_a_fresh_process("mapped", *case),
        }


def too_long(findings: dict[str, Any], kind: IndexKind, size: int) -> str | None:
    """Tell why a case is left out: a smaller one took so long that this one would pass five minutes, or `None`."""
    known = [one for one in findings.values() if one["kind"] == kind and "build_seconds" in one]
    for one in known:
        expected = one["build_seconds"] * size / one["vectors"]
        if one["vectors"] < size and expected > _LONGEST_BUILD:
            return (
                f"left out: building would take more than {_LONGEST_BUILD // 60} minutes: {one['build_seconds']:.0f} s "
                f"for {one['vectors']:,} vectors, and the time grows at least as fast as their number"
            )
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the cases, and add each to the result file and its table."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    if options.step is not None:
        sys.stdout.write(json.dumps(_step(options.step, options.folder, options.kinds[0], options.sizes[0])) + "\n")
        return 0
    findings = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    where = provenance(arguments, module="benchmarks.index_memory") | {"machine": machine("cpu")}
    for size in options.sizes:
        for kind in options.kinds:
            reason = too_long(findings, kind, size)
            found = {"kind": kind, "vectors": size, "left_out": reason} if reason else measure(kind, size)
            findings[f"{kind}, {size}"] = where | {"dimension": _DIMENSION, "queries": _QUERIES} | found
            sys.stdout.write(json.dumps(found) + "\n")
            options.out.write_text(json.dumps(findings, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            options.out.with_suffix(".md").write_text(markdown(findings), encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index_memory", description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=get_args(IndexKind), default=list(get_args(IndexKind)))
    parser.add_argument("--sizes", nargs="+", type=int, default=[100_000, 1_000_000])
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--step", choices=("build", "plain", "mapped"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


def _step(step: str, folder: Path, kind: IndexKind, size: int) -> dict[str, Any]:
    return build(folder, kind, size) if step == "build" else open_and_ask(folder, size, memory_map=step == "mapped")


def _in_a_fresh_process(step: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603 -- this module
        [sys.executable, "-m", "benchmarks.index_memory", "--step", step, *arguments],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=_TIMEOUT, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _queries(size: int) -> Vectors:
    return next(drawn(_QUERIES, size, seed=2))


def _nearest(vectors: Vectors, queries: Vectors) -> np.ndarray:
    """Give the numbers of the nearest vectors as a flat index finds them: shape (q, k)."""
    with DenseIndex.create(settings=IndexSettings(dimension=_DIMENSION), device="cpu") as flat:
        flat.add([StoredDocument(str(place), "") for place in range(len(vectors))], vectors)
        return np.asarray([[int(hit.document.id) for hit in hits] for hits in flat.search(queries, _K)])


def _timed_search(index: DenseIndex, query: Vectors) -> tuple[float, list[int]]:
    start = perf_counter()
    [hits] = index.search(query, _K)
    return perf_counter() - start, [int(hit.document.id) for hit in hits]


def _resident() -> tuple[float, float]:
    """Give the resident memory in MiB, and that part of it that is not of files; Linux only."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    kib = {
        name: int(rest.split()[0])
        for name, _, rest in (line.partition(":") for line in lines)
        if "Rss" in name or name == "VmRSS"
    }
    return kib["VmRSS"] / 1024, kib["RssAnon"] / 1024


if __name__ == "__main__":
    sys.exit(main())
