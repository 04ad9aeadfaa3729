"""Whether a model gives the same scores here as elsewhere: our engines and other libraries, on fixed French pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from fr_reranker_plugin.errors import MissingDependencyError, RerankerError, SettingsError
from fr_reranker_plugin.evaluation.agreement import Agreement, agreement, by_question
from fr_reranker_plugin.evaluation.fidelity_gates import GATES, Gate
from fr_reranker_plugin.evaluation.french_pairs import FrenchPair, french_pairs, plain_pairs, ranking_quality
from fr_reranker_plugin.evaluation.other_loaders import (
    Load,
    Score,
    flag_embedding,
    plain_transformers,
    sentence_transformers,
    transformers_tokens,
)
from fr_reranker_plugin.scoring.scorer import Pair
from fr_reranker_plugin.scoring.settings import BatchSettings, DType, ModelSettings

if TYPE_CHECKING:
    from fr_reranker_plugin.scoring.tokenization import PairTokenizer

_OTHERS: Final[Mapping[str, Load]] = {
    "sentence-transformers": sentence_transformers,
    "FlagEmbedding": flag_embedding,
}
_TORCH_DTYPES: Final[Mapping[str, Sequence[DType]]] = {
    "cpu": ("float32", "bfloat16", "int8"),
    "cuda": ("float32", "float16", "bfloat16"),
}
_ONNX_DTYPES: Final[Sequence[DType]] = ("float32", "int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderResult:
    """What became of one loader.

    :param agreement: Its differences from the reference; `None` if it gave no scores.
    :param lost_points: Points (0..100) of nDCG@10 and RR@10 that its ranking of the judged questions loses.
    :param reason: Why it gave no scores.
    :param passed: Whether its gate holds; `None` if it is not here or does not load this model.
    """

    loader: str
    dtype: str
    gate: Gate
    agreement: Agreement | None = None
    lost_points: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None
    passed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Every loader of one model, beside plain transformers in float32.

    :param pairs: How many pairs were scored.
    :param equal_tokens: How many of them our tokenizer turns into the same ids as that of transformers.
    """

    model: str
    revision: str | None
    device: str
    max_length: int
    pairs: int
    equal_tokens: int
    loaders: Sequence[LoaderResult]

    @property
    def passed(self) -> bool:
        """Whether all tokens are equal, and one loader or more gave scores and none misses its gate."""
        gates = [one.passed for one in self.loaders if one.passed is not None]
        return self.equal_tokens == self.pairs and bool(gates) and all(gates)


class _Loader(NamedTuple):
    """Loads the model, scores pairs and lets go of it; one that is `required` must load every supported model."""

    name: str
    dtype: str
    score: Score
    required: bool = False


def verify(
    settings: ModelSettings,
    batch: BatchSettings | None = None,
    *,
    others: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Score the French pairs with plain transformers in float32, and with every loader that is here.

    :param settings: Which model. With `dtype` and `backend` on `"auto"`, each of our engines that this machine has is
        tried; else those that have the named ones. Of several devices the first is used.
    :param batch: Bounds of our batches.
    :param others: Score with sentence-transformers and FlagEmbedding too, where they are installed.
    :param progress: Is told the name of each loader before it loads.
    :raises ModelLoadError: If the model cannot be found, or is not one that we support.
    :raises MissingDependencyError: If ONNX Runtime is named and not installed.
    :raises SettingsError: If the device, dtype or backend that is named is not here.
    """
    engines = _engines(settings)
    device = str(engines[0].device)
    folder, tokenizer = _opened(settings)
    pairs = french_pairs()
    progress("transformers")
    reference = plain_transformers(folder, device, tokenizer.max_length)(plain_pairs(pairs))
    named = (settings.dtype, settings.backend) != ("auto", "auto")
    loaders = [_ours(engine, batch, named=named) for engine in engines]
    loaders += _others(folder, device, tokenizer.max_length) if others else []
    return Verification(
        model=settings.model,
        revision=settings.pinned_revision,
        device=device,
        max_length=tokenizer.max_length,
        pairs=len(pairs),
        equal_tokens=_equal_tokens(folder, tokenizer, plain_pairs(pairs)),
        loaders=[_result(loader, pairs, reference, progress) for loader in loaders],
    )


def _engines(settings: ModelSettings) -> list[ModelSettings]:
    """Give the settings of each of our engines to try.

    :raises MissingDependencyError: If ONNX Runtime is named and not installed.
    :raises SettingsError: If what is named is not here.
    """
    from fr_reranker_plugin.scoring.loading import resolve_settings
    from fr_reranker_plugin.scoring.onnx_session import check_onnxruntime

    if settings.backend == "onnx":
        check_onnxruntime()
    first = replace(settings, device=settings.devices[0])
    resolved = resolve_settings(first)
    here = replace(first, device=resolved.device)
    kind = str(resolved.device).partition(":")[0]
    engines = [replace(here, dtype=dtype, backend="torch") for dtype in _TORCH_DTYPES.get(kind, ("float32", "float16"))]
    if kind == "cpu":
        engines += [replace(here, dtype=dtype, backend="onnx") for dtype in _ONNX_DTYPES]
    return [
        one for one in engines if settings.dtype in ("auto", one.dtype) and settings.backend in ("auto", one.backend)
    ] or [resolved]


def _opened(settings: ModelSettings) -> tuple[Path, PairTokenizer]:
    """Give the folder and the tokenizer of a model that we support."""
    from fr_reranker_plugin.scoring.checkpoint import find_checkpoint
    from fr_reranker_plugin.scoring.cross_encoder import check_architecture
    from fr_reranker_plugin.scoring.loading import load_config
    from fr_reranker_plugin.scoring.tokenization import PairTokenizer

    folder = find_checkpoint(settings)
    config = load_config(folder)
    check_architecture(config, folder)
    return folder, PairTokenizer.load(folder, config, max_length=settings.max_length)


def _equal_tokens(folder: Path, tokenizer: PairTokenizer, pairs: Sequence[Pair]) -> int:
    """Count the pairs that our tokenizer reads as that of transformers does."""
    encoded = tokenizer.encode(pairs)
    ours = [(list(one.token_ids), list(one.type_ids) if tokenizer.uses_type_ids else []) for one in encoded]
    theirs = transformers_tokens(folder, pairs, tokenizer.max_length)
    return sum(one == other for one, other in zip(ours, theirs, strict=True))


def _ours(settings: ModelSettings, batch: BatchSettings | None, *, named: bool) -> _Loader:
    def score(pairs: Sequence[Pair]) -> list[float]:
        from fr_reranker_plugin.scoring.shared import SharedScorer

        with closing(SharedScorer(settings, batch)) as scorer:
            return list(scorer.score(pairs))

    return _Loader(f"ours, {settings.backend}", settings.dtype, score, required=named or settings.backend == "torch")


def _others(folder: Path, device: str, max_length: int) -> list[_Loader]:
    def score(load: Load, pairs: Sequence[Pair]) -> Sequence[float | None]:
        return load(folder, device, max_length)(pairs)

    return [_Loader(name, "float32", partial(score, load)) for name, load in _OTHERS.items()]


def _result(
    loader: _Loader, pairs: Sequence[FrenchPair], reference: Sequence[float], progress: Callable[[str], None]
) -> LoaderResult:
    """Score with one loader and compare; whatever it raises is told in its place, and the others go on."""
    progress(f"{loader.name}, {loader.dtype}")
    result = LoaderResult(loader=loader.name, dtype=loader.dtype, gate=GATES[loader.dtype])
    try:
        logits = loader.score(plain_pairs(pairs))
    except (SettingsError, MissingDependencyError) as error:
        return replace(result, reason=_first_line(error))
    except Exception as error:  # noqa: BLE001 -- other libraries raise anything for a model that they do not know
        return replace(result, reason=_first_line(error), passed=False if loader.required else None)
    return _compared(result, pairs, reference, logits)


def _compared(
    result: LoaderResult, pairs: Sequence[FrenchPair], reference: Sequence[float], logits: Sequence[float | None]
) -> LoaderResult:
    """Compare on the pairs that the loader reads as the others do."""
    scored = {at: logit for at, logit in enumerate(logits) if logit is not None}
    if not scored:
        return replace(result, reason="it reads every pair in another way than transformers")
    some, expected, found = [pairs[at] for at in scored], [reference[at] for at in scored], list(scored.values())
    near = agreement(expected, found, by_question(plain_pairs(some)))
    before, after = ranking_quality(some, expected), ranking_quality(some, found)
    lost = {measure: before[measure] - after[measure] for measure in before}
    return replace(result, agreement=near, lost_points=lost, passed=result.gate.is_met(near, lost))


def _first_line(error: Exception) -> str:
    line = str(error).strip().partition("\n")[0]
    return line if isinstance(error, RerankerError) else f"{type(error).__name__}: {line}"
