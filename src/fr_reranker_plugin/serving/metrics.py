"""What Prometheus reads: the scorer's counters, and what the server counts itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from fr_reranker_plugin.scoring.metrics import LATENCY_BUCKETS, Latencies, Snapshot
from fr_reranker_plugin.scoring.shared import SharedScorer

if TYPE_CHECKING:
    from fr_reranker_plugin.serving.notes import RequestNotes

_PREFIX: Final = "fr_reranker_"
_COUNTERS: Final = {
    "batches": "Forward passes that gave logits.",
    "pairs": "Pairs that were computed.",
    "tokens": "Tokens of the pairs that were computed, without padding.",
    "shared_pairs": "Pairs that were not computed because the same pair was waiting or being computed.",
    "cancelled_pairs": "Pairs dropped from the queue because their caller left.",
    "expired_pairs": "Pairs dropped from the queue because their time was over.",
    "failed_pairs": "Pairs that the model gave no finite logit for.",
    "splits": "Batches that failed and were halved.",
    "oom_splits": "Batches that failed for want of memory.",
    "refused": "Requests that found the queue full.",
}
_GAUGES: Final = {
    "oldest_waiting_seconds": "Age of the oldest request with a pair that waits.",
    "efficiency": "Useful over computed tokens; the difference is padding.",
    "tokens_per_second": "Useful tokens per second of late.",
}


class ServerMetrics:
    """The metrics of one application.

    :param scorer: Whose counters are shown, once it is loaded.
    """

    def __init__(self, scorer: SharedScorer) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_ScorerCollector(scorer))
        labels = ("endpoint", "status", "code")
        self._requests = Counter(f"{_PREFIX}http_requests", "Answered requests.", labels, registry=self._registry)
        self._seconds = Histogram(
            f"{_PREFIX}http_request_seconds",
            "From the head of a request to the end of its answer.",
            ("endpoint",),
            buckets=LATENCY_BUCKETS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            f"{_PREFIX}http_requests_in_flight", "Requests that are being answered.", registry=self._registry
        )
        self._truncated = Counter(
            f"{_PREFIX}truncated_texts", "Texts of which something was not read.", registry=self._registry
        )
        model, build = scorer.model, Info(f"{_PREFIX}model", "The model that answers.", registry=self._registry)
        build.info(
            {"model": model.model, "revision": model.pinned_revision or "", "version": version("fr-reranker-plugin")}
        )

    def count_request(self, endpoint: str, status: int, seconds: float, notes: RequestNotes) -> None:
        """Count a request that was answered."""
        self._requests.labels(endpoint, str(status), notes.code).inc()
        self._seconds.labels(endpoint).observe(seconds)
        self._truncated.inc(notes.truncated or 0)

    def exposition(self) -> bytes:
        """Give everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _ScorerCollector(Collector):
    def __init__(self, scorer: SharedScorer) -> None:
        self._scorer = scorer

    def collect(self) -> Iterable[Metric]:
        snapshot = self._scorer.snapshot()
        return [] if snapshot is None else [*_plain(snapshot), *_labelled(snapshot), *self._engines()]

    def _engines(self) -> Iterator[Metric]:
        health = self._scorer.health()
        if health is not None:
            yield GaugeMetricFamily(f"{_PREFIX}engines", "Copies of the model.", value=health.engines)
            yield GaugeMetricFamily(f"{_PREFIX}engines_alive", "Those that can answer.", value=health.engines_alive)


def _plain(snapshot: Snapshot) -> Iterator[Metric]:
    for name, documentation in _COUNTERS.items():
        yield CounterMetricFamily(_PREFIX + name, documentation, value=getattr(snapshot, name))
    for name, documentation in _GAUGES.items():
        yield GaugeMetricFamily(_PREFIX + name, documentation, value=getattr(snapshot, name))


def _labelled(snapshot: Snapshot) -> Iterator[Metric]:
    pairs = GaugeMetricFamily(f"{_PREFIX}waiting_pairs", "Pairs that are in no batch yet.", labels=["priority"])
    tokens = GaugeMetricFamily(f"{_PREFIX}waiting_tokens", "Their tokens.", labels=["priority"])
    for priority, waiting in snapshot.waiting.items():
        pairs.add_metric([priority], waiting.pairs)
        tokens.add_metric([priority], waiting.tokens)
    phases = CounterMetricFamily(f"{_PREFIX}phase_seconds", "Time spent, by phase.", labels=["phase"])
    for phase, seconds in snapshot.seconds.items():
        phases.add_metric([phase], seconds)
    budgets = GaugeMetricFamily(f"{_PREFIX}token_budget", "What a batch may cost now, in tokens.", labels=["engine"])
    for engine, budget in enumerate(snapshot.token_budgets):
        budgets.add_metric([str(engine)], budget)
    latencies = HistogramMetricFamily(
        f"{_PREFIX}scoring_seconds", "From a request's pairs to its logits.", labels=["priority"]
    )
    for priority, measured in snapshot.requests.items():
        latencies.add_metric([priority], _cumulative(measured), measured.seconds)
    yield from (pairs, tokens, phases, budgets, latencies)


def _cumulative(measured: Latencies) -> list[tuple[str, float]]:
    """Give the buckets as Prometheus counts: each holds those before it, the last one all."""
    buckets, so_far = [], 0
    for bound, count in zip([*map(str, LATENCY_BUCKETS), "+Inf"], measured.buckets, strict=True):
        so_far += count
        buckets.append((bound, float(so_far)))
    return buckets
