"""W1, k20, W2, W3, W7 and W8: one caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from benchmarks.contenders import REFERENCE, Contender, Scoring
from benchmarks.rounds import Timed, one_after_another, seconds_of
from benchmarks.session import Session, Task
from benchmarks.workloads import Workload
from fr_reranker_plugin.evaluation.agreement import agreement, by_question

_WARM_UP_PAIRS = 24
_HIT_RATES = (0.0, 0.5, 0.95)
_IDLE_REQUESTS = {1: 8, 10: 2}


def run(session: Session) -> None:
    """Measure every contender that has a part in these workloads, interleaved."""
    works, groups = session.workloads, {"one": ("W1", "k20"), "long": ("W2", "W3")}
    builds = {"W1": works.w1, "k20": works.k20, "W2": works.w2, "W3": works.w3}
    wanted = {one.name: one for group in (*groups, "first") for one in session.contenders(group)}
    with session.opened(list(wanted.values())) as live:
        warm_up(live, works.bulk(_WARM_UP_PAIRS).pairs)
        for group, names in groups.items():
            some = {one: scoring for one, scoring in live.items() if group in one.groups}
            for name in names:
                efficiencies: dict[str, float] = {}
                tasks = [Task(name, one, partial(_timed, one, scoring, efficiencies)) for one, scoring in some.items()]
                asked, logits = session.measure(builds[name], tasks)
                _compare(session, name, asked, logits, efficiencies)
        _first_scores(session, {one: scoring for one, scoring in live.items() if "first" in one.groups})
        _repeated(session, dict([(one, live[one]) for one in live if one.is_ours][:1]))


def warm_up(live: Mapping[Contender, Scoring], pairs: Sequence[tuple[str, str]]) -> None:
    """Let each contender score a little, and choose its batch size if it wants to."""
    for scoring in live.values():
        scoring.score(pairs)
        if hasattr(scoring, "tune"):
            scoring.tune(pairs, seconds_of)


def planned_efficiency(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """Give useful over computed tokens (0..1) of padded batches, given as positions."""
    computed = sum(max(lengths[at] for at in batch) * len(batch) for batch in batches)
    return sum(lengths) / computed


def _timed(contender: Contender, scoring: Scoring, efficiencies: dict[str, float], asked: Workload) -> Timed:
    """Time one round, and note useful over computed tokens where they are known."""
    before = getattr(scoring, "counted", None)
    timed = one_after_another(scoring.score, asked.requests)
    if before is not None and (after := getattr(scoring, "counted", None)) is not None:
        efficiencies[contender.name] = (after[0] - before[0]) / (after[1] - before[1])
    elif hasattr(scoring, "plan"):
        batches, start = [], 0
        for request in asked.requests:
            batches += [[start + at for at in batch] for batch in scoring.plan(request)]
            start += len(request)
        efficiencies[contender.name] = planned_efficiency(asked.lengths, batches)
    return timed


def _compare(
    session: Session,
    name: str,
    asked: Workload,
    logits: Mapping[str, list[float]],
    efficiencies: Mapping[str, float],
) -> None:
    """Compare the first round's logits with the reference's."""
    session.findings.setdefault("efficiency", {})[name] = dict(efficiencies)
    found = session.findings.setdefault("agreement", {}).setdefault(name, {})
    for contender, theirs in logits.items() if REFERENCE in logits else ():
        found[contender] = agreement(logits[REFERENCE], theirs, by_question(asked.pairs))._asdict()
    session.save()


def _first_scores(session: Session, live: Mapping[Contender, Scoring]) -> None:
    """Time single requests of 1 and of 10 pairs to an idle model (W8)."""
    for pairs, requests in _IDLE_REQUESTS.items():
        build = partial(session.workloads.k20, requests, passages=pairs)
        session.measure(build, _in_turn(f"W8 {pairs}", live))


def _repeated(session: Session, live: Mapping[Contender, Scoring]) -> None:
    """Score passages of which some came before (W7); compare tokens per second, for the texts differ."""
    for rate in _HIT_RATES:
        session.measure(partial(session.workloads.w7, rate), _in_turn(f"W7 {rate:.0%}", live))


def _in_turn(name: str, live: Mapping[Contender, Scoring]) -> list[Task]:
    return [
        Task(name, one, lambda asked, scoring=scoring: one_after_another(scoring.score, asked.requests))
        for one, scoring in live.items()
    ]
