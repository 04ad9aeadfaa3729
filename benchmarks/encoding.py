"""How fast texts become vectors, beside sentence-transformers: `python -m benchmarks.encoding FOLDER …`.

Both encode the same passages of a BEIR folder with the same checkpoint in float32 and take turns; every round has other
passages. The reference is `SentenceTransformer.encode` with its defaults (batches of 32). Tokenising is included.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.machine import machine, provenance
from benchmarks.models import EMBEDDED, RANDOM_BASE, SHAPES, checkpoint
from benchmarks.rounds import Timed, interleaved, spread
from fr_reranker_plugin.collections import load_corpus
from fr_reranker_plugin.retrieval.text_encoder import TextEncoder
from fr_reranker_plugin.scoring.checkpoint import embedded_checkpoint
from fr_reranker_plugin.scoring.settings import ModelSettings

OURS: Final = "ours"
THEIRS: Final = "sentence-transformers"
RESULT: Final = Path(__file__).parent / "results" / "encoding.json"
LEAST_RATIO: Final = 1.5
LEAST_COSINE: Final = 0.9999
_WARM_UP: Final = 4

Encode = Callable[[Sequence[str]], npt.NDArray[np.float32]]


def encoders(model: str, device: str) -> dict[str, Encode]:
    """Load a checkpoint twice: with sentence-transformers and with us.

    :param model: `"embedded"`, a random model of `benchmarks.models` (mean pooling, no prefix), or a folder.
    """
    from sentence_transformers import SentenceTransformer

    folder = embedded_checkpoint("bi_encoder") if model == EMBEDDED else checkpoint(model)
    reference = SentenceTransformer(str(folder), device=device, model_kwargs={"dtype": "float32"})
    ours = TextEncoder.load(ModelSettings(model=str(folder), device=device, dtype="float32"))
    prefix = ours.prefixes.passage
    return {THEIRS: lambda texts: reference.encode(list(texts), prompt=prefix), OURS: ours.encode_passages}


def compare(contenders: dict[str, Encode], passages: Sequence[str], *, count: int, rounds: int) -> dict[str, Any]:
    """Time the contenders in turns on `count` passages a round; tell the ratio and the least cosine of all rounds."""
    random = np.random.default_rng(0)
    asked = [[passages[at] for at in random.choice(len(passages), count, replace=False)] for _ in range(rounds)]
    vectors: dict[tuple[str, int], npt.NDArray[np.float32]] = {}

    def timed(name: str, number: int) -> Timed:
        start = perf_counter()
        vectors[name, number] = contenders[name](asked[number])
        return Timed(perf_counter() - start, [], [])

    for encode in contenders.values():
        encode(passages[:_WARM_UP])
    tasks = {name: lambda number, name=name: timed(name, number) for name in contenders}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    loads: list[float] = []
    for _, name, took, load in interleaved(tasks, rounds=rounds, on_error=_raise):
        seconds[name].append(took.seconds)
        loads.append(load)
    ratios = [theirs / ours for theirs, ours in zip(seconds[THEIRS], seconds[OURS], strict=True)]
    return {
        "passages_per_round": count,
        "mean_characters": float(np.mean([len(text) for texts in asked for text in texts])),
        "seconds": seconds,
        "load_average": loads,
        "passages_per_second": {
            name: spread([count / one for one in all_])._asdict() for name, all_ in seconds.items()
        },
        "ratio": spread(ratios)._asdict(),
        "least_cosine": min(_least_cosine(vectors[THEIRS, at], vectors[OURS, at]) for at in range(rounds)),
    }


def missed(found: dict[str, Any]) -> list[str]:
    """Name what a comparison does not reach: the speed, or the equality of the vectors."""
    median, cosine = found["ratio"]["median"], found["least_cosine"]
    return [f"{median:.2f} times as fast, expected {LEAST_RATIO}"] * (median < LEAST_RATIO) + [
        f"a cosine of {cosine:.6f}, expected {LEAST_COSINE}"
    ] * (cosine < LEAST_COSINE)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and add the findings to the result file; 1 if a gate is missed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoding", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="BEIR folders")
    parser.add_argument(
        "--models", nargs="+", default=[EMBEDDED, RANDOM_BASE], help=f"also {', '.join(SHAPES)}, or a folder"
    )
    parser.add_argument("--passages", type=int, help="a round; default: 96, or 32 for the base model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    findings = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    misses: list[str] = []
    for model in options.models:
        contenders = encoders(model, options.device)
        count = options.passages or (32 if model == RANDOM_BASE else 96)
        for folder in options.folders:
            passages = [passage.full_text for passage in load_corpus(folder / "corpus.jsonl").values()]
            found = compare(contenders, passages, count=min(count, len(passages)), rounds=options.rounds)
            misses += [f"{model} on {folder.name}: {one}" for one in missed(found)]
            findings[f"{model}, {folder.name}"] = _where(arguments, options.device) | found
            sys.stdout.write(f"{model} on {folder.name}: {json.dumps(found['ratio'])}, {found['least_cosine']:.6f}\n")
            options.out.write_text(json.dumps(findings, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write("".join(f"missed: {miss}\n" for miss in misses))
    return int(bool(misses))


def _where(arguments: list[str], device: str) -> dict[str, Any]:
    named = [Path(one).name if Path(one).is_dir() else one for one in arguments]
    return provenance(named, module="benchmarks.encoding") | {"machine": machine(device)}


def _least_cosine(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    products = np.einsum("nd,nd->n", one, other, dtype=np.float64)
    return float((products / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))).min())


def _raise(_: str, error: Exception) -> None:
    raise error


if __name__ == "__main__":
    sys.exit(main())
