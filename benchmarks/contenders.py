"""Who is measured: our variants and the peers, one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from benchmarks.peers.piped import Piped
from fr_reranker_plugin.scoring.forward import bfloat16_product


class Scoring(Protocol):
    """What is measured: anything that gives a logit per pair. `ascore`, `plan`, `tune` and `snapshot` are optional."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Give one logit per pair, in order."""

    def close(self) -> None:
        """Let go of the model."""


@runtime_checkable
class Asynchronous(Protocol):
    """A scoring that is made for an event loop."""

    async def ascore(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Give one logit per pair without blocking the loop."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contender:
    """One line of the table.

    :param factory: `module:Class` inside `benchmarks`.
    :param options: Arguments of the class, beside the checkpoint's folder and the device.
    :param exact: Whether it computes in float32, so that its logits should equal the reference's.
    :param pads: Whether it computes padding.
    :param python: Name of the interpreter it can be given with `--peer-python`, if ours cannot run it.
    :param cached: Whether it writes an exported model, and so needs a cache folder.
    :param core: The groups of which it is part in the short list of contenders; see `groups`.
    :param groups: Which workloads measure it: `one` caller (W1, k20), `long` pairs (W2, W3), `many` callers (W4),
        `first` score (W8).
    """

    name: str
    factory: str
    options: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = True
    pads: bool = True
    python: str | None = None
    cached: bool = False
    groups: frozenset[str] = frozenset({"one"})
    core: frozenset[str] = frozenset()

    @property
    def is_ours(self) -> bool:
        """Whether this is a variant of our scorer."""
        return self.factory.startswith("ours:")


def ours(name: str, *core: str, exact: bool = False, pads: bool = False, **options: str) -> Contender:
    """Declare a variant of ours by the fields of `ModelSettings`, and where it is in the short list."""
    return Contender(
        name=name,
        factory="ours:Ours",
        options=options,
        exact=exact,
        pads=pads,
        groups=frozenset(("one", "long", "many", "first")),
        core=frozenset(core),
    )


def peer(
    name: str,
    factory: str,
    *groups: str,
    core: bool = False,
    exact: bool = True,
    python: str | None = None,
    cached: bool = False,
    **options: Any,  # noqa: ANN401
) -> Contender:
    """Declare a peer by its class in `benchmarks.peers`; a `core` one is in the short list."""
    return Contender(
        name=name,
        factory=f"peers.{factory}",
        options=options,
        exact=exact,
        python=python,
        cached=cached,
        groups=frozenset(groups),
        core=frozenset(groups if core else ()),
    )


EVERYONE: Final = "*"
"""The interpreter of this name, if there is one, runs every contender that has none of its own."""

REFERENCE: Final = "sentence-transformers"
LOCKED: Final = "sentence-transformers + lock"
TUNED_HALF: Final = "sentence-transformers fp16 tuned"
ORT_INT8: Final = "ONNX Runtime int8"

_PREDICT: Final = "cross_encoder_predict:Predict"
_SNIPPET: Final = "transformers_snippet:TransformersSnippet"
_HAYSTACK: Final = "haystack_ranker:HaystackRanker"
_BATCHER: Final = "micro_batcher:MicroBatcher"
_FLAG: Final = "flag_reranker:Flag"
_ORT: Final = "onnx_runtime:OnnxRuntime"
_OPENVINO: Final = "openvino_runtime:OpenVino"
_CT2: Final = "ctranslate2_encoder:CTranslate2"
_INFINITY: Final = "infinity_engine:InfinityEngine"

CPU: Final = (
    ours("ours fp32", "one", "long", "many", "first", dtype="float32", exact=True),
    ours("ours onnx fp32", backend="onnx", dtype="float32", exact=True, pads=True),
    ours("ours bf16", "one", "long", dtype="bfloat16"),
    ours("ours int8", "one", "long", "first", dtype="int8"),
    ours("ours onnx int8", backend="onnx", dtype="int8", pads=True),
    peer(REFERENCE, _PREDICT, "one", "long", "first", core=True),
    peer("sentence-transformers tuned", _PREDICT, "one", batch_size=None),
    peer("sentence-transformers bf16", _PREDICT, "one", "long", core=True, dtype="bfloat16", exact=False),
    peer("transformers snippet", _SNIPPET, "one"),
    peer("FlagReranker", _FLAG, "one"),
    peer("ONNX Runtime", _ORT, "one", "long", cached=True),
    peer(ORT_INT8, _ORT, "one", "long", "first", core=True, cached=True, int8=True, exact=False),
    peer("OpenVINO", _OPENVINO, "one", python="openvino", cached=True, precision="f32"),
    peer("OpenVINO bf16", _OPENVINO, "one", python="openvino", cached=True, precision="bf16", exact=False),
    peer("CTranslate2", _CT2, "one", python="ctranslate2", cached=True, compute_type="float32"),
    peer("CTranslate2 int8", _CT2, "one", python="ctranslate2", cached=True, compute_type="int8", exact=False),
    peer("infinity", _INFINITY, "one", "many", python="infinity"),
    peer(LOCKED, _PREDICT, "many", core=True, locked=True),
    peer("queue + predict", _BATCHER, "many"),
    peer("Haystack ranker", _HAYSTACK, "many"),
)

CUDA: Final = (
    ours("ours fp16", dtype="float16"),
    ours("ours bf16", dtype="bfloat16"),
    ours("ours fp32", dtype="float32", exact=True),
    peer(REFERENCE, _PREDICT, "one", "long", "first"),
    peer("sentence-transformers fp16", _PREDICT, "one", "long", dtype="float16", exact=False),
    peer(TUNED_HALF, _PREDICT, "one", "long", dtype="float16", batch_size=None, exact=False),
    peer("sentence-transformers bf16", _PREDICT, "one", dtype="bfloat16", exact=False),
    peer("transformers snippet fp16", _SNIPPET, "one", dtype="float16", exact=False),
    peer("FlagReranker fp16", _FLAG, "one", use_fp16=True, exact=False),
    peer(LOCKED, _PREDICT, "many", dtype="float16", locked=True, exact=False),
    peer("queue + predict", _BATCHER, "many", dtype="float16", exact=False),
    peer("Haystack ranker", _HAYSTACK, "many"),
    peer("infinity", _INFINITY, "one", "many", python="infinity", dtype="float16", exact=False),
)


def contenders(device: str) -> tuple[Contender, ...]:
    """Give who is measured on a device; nobody in bfloat16 where it is only emulated."""
    if device.startswith("cuda"):
        return CUDA
    if bfloat16_product.is_slow():
        return tuple(one for one in CPU if not one.name.endswith(" bf16"))
    return CPU


def opened(contender: Contender, folder: Path, *, device: str, cache: Path, pythons: Mapping[str, str]) -> Scoring:
    """Load a contender.

    :param pythons: Interpreters by name, from `--peer-python`.
    :raises Exception: Whatever the contender raises; the run notes it and goes on without.
    """
    options = {"folder": str(folder), "device": device, **contender.options}
    if contender.cached:
        options["cache"] = str(cache)
    factory = f"benchmarks.{contender.factory}"
    if python := pythons.get(contender.python or "", pythons.get(EVERYONE)):
        return Piped(python, factory, options)
    module, _, name = factory.partition(":")
    scoring: Scoring = getattr(import_module(module), name)(**options)
    return scoring
