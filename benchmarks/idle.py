"""What an idle scorer adds to the bare forward pass, what a cold process takes, and what many candidates cost."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Final

from benchmarks.session import Session, say
from benchmarks.single_process import in_a_fresh_process
from fr_reranker_plugin.scoring.batching import BatchingScorer
from fr_reranker_plugin.scoring.cross_encoder import CrossEncoder
from fr_reranker_plugin.scoring.scorer import EncodedPair
from fr_reranker_plugin.scoring.settings import ModelSettings

_TIMES: Final = 60


class NoModel:
    """An engine whose forward pass takes no time; tokenising is the real one's."""

    def __init__(self, engine: CrossEncoder) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever else the real engine has
        return getattr(self._engine, name)

    def launch(self, batch: Sequence[EncodedPair]) -> Callable[[], list[float]]:
        """Give zeros at once."""
        return lambda: [0.0] * len(batch)


def run(session: Session) -> None:
    """Measure all three."""
    session.findings["idle"] = _overhead(session)
    say(f"idle: {session.findings['idle']}")
    session.save()
    session.findings["cold"] = {
        who: [_cold(session, who) for _ in range(min(3, session.rounds))] for who in ("ours", "sentence-transformers")
    }
    say(f"W8 cold: {session.findings['cold']}")
    session.save()
    session.findings["memory"] = [
        in_a_fresh_process("memory", str(session.folder), "--device", session.device, "--pairs", str(pairs))
        for pairs in session.sizes.memory
    ]
    say(f"memory: {session.findings['memory']}")
    session.save()


def _cold(session: Session, who: str) -> dict[str, float]:
    return in_a_fresh_process(f"cold-{who}", str(session.folder), "--device", session.device)


def _overhead(session: Session) -> dict[str, float]:
    """Give the milliseconds of one pair: the bare forward, through the scorer, and through it without a model."""
    engine = CrossEncoder.load(ModelSettings(model=str(session.folder), device=session.device, dtype="float32"))
    pairs = session.workloads.one(1).pairs
    with BatchingScorer(engine) as scorer, BatchingScorer(NoModel(engine)) as without_model:
        bare, scored, differences = [], [], []
        for _ in range(_TIMES):
            bare.append(_milliseconds(lambda: _bare_forward(engine, pairs)))
            scored.append(_milliseconds(lambda: scorer.score(pairs)))
            differences.append(scored[-1] - bare[-1])
        empty = [_milliseconds(lambda: without_model.score(pairs)) for _ in range(_TIMES)]
        encode = [_milliseconds(lambda: engine.encode(pairs)) for _ in range(_TIMES)]
    return {
        "bare_forward_ms": statistics.median(bare),
        "scored_ms": statistics.median(scored),
        "paired_difference_ms": statistics.median(differences),
        "scorer_without_model_ms": statistics.median(empty) - statistics.median(encode),
    }


def _bare_forward(engine: CrossEncoder, pairs: Sequence[tuple[str, str]]) -> list[float]:
    wait = engine.launch(engine.encode(pairs))
    return wait()


def _milliseconds(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return 1000 * (perf_counter() - start)
