"""What Prometheus reads."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fr_reranker_plugin import ModelSettings, SharedScorer
from fr_reranker_plugin.serving import create_app


def samples(text):
    """Every sample by its name and labels."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def server(serve, tiny_model):
    return serve(SharedScorer(ModelSettings(model=tiny_model)))


def test_metrics_follow_the_requests(server, tiny_model):
    before = samples(server.get("/metrics").text)
    texts = ["un", "deux", "un", "un mot " * 600]
    assert server.post("/rerank", {"query": "q", "texts": texts}).status_code == 200
    assert server.post("/rerank", {"query": "q"}).status_code == 422
    after = samples(server.get("/metrics").text)
    gained = {name: value - before.get(name, 0.0) for name, value in after.items()}
    assert gained["fr_reranker_pairs_total",] == 3
    assert gained["fr_reranker_tokens_total",] > 512
    assert gained["fr_reranker_batches_total",] >= 1
    assert gained["fr_reranker_truncated_texts_total",] == 1
    assert gained["fr_reranker_scoring_seconds_count", ("priority", "interactive")] == 1
    good = ("fr_reranker_http_requests_total", ("code", "ok"), ("endpoint", "/rerank"), ("status", "200"))
    bad = (
        "fr_reranker_http_requests_total",
        ("code", "invalid_request"),
        ("endpoint", "/rerank"),
        ("status", "422"),
    )
    assert (gained[good], gained[bad]) == (1, 1)
    assert gained["fr_reranker_http_request_seconds_count", ("endpoint", "/rerank")] == 2
    assert any(name[0] == "fr_reranker_model_info" and ("model", tiny_model) in name for name in after)


def test_phases_budget_and_engines_are_there_and_buckets_add_up(server):
    server.post("/rerank", {"query": "q", "texts": ["un"]})
    found = samples(server.get("/metrics").text)
    for phase in ("tokenize", "queue", "forward", "deliver"):
        assert found["fr_reranker_phase_seconds_total", ("phase", phase)] >= 0
    assert found["fr_reranker_engines",] == found["fr_reranker_engines_alive",] == 1
    assert found["fr_reranker_token_budget", ("engine", "0")] == 1024
    for priority in ("interactive", "bulk"):
        buckets = [
            value
            for name, value in found.items()
            if name[0] == "fr_reranker_scoring_seconds_bucket" and ("priority", priority) in name
        ]
        assert buckets == sorted(buckets)
        assert buckets[-1] == found["fr_reranker_scoring_seconds_count", ("priority", priority)]


def test_unknown_places_are_counted_together_so_that_nobody_can_fill_the_memory(server):
    for number in range(5):
        server.get(f"/nowhere-{number}")
    found = samples(server.get("/metrics").text)
    label = ("endpoint", "other")
    assert found["fr_reranker_http_requests_total", ("code", "not_found"), label, ("status", "404")] == 5


def test_two_applications_count_apart():
    first, second = (create_app(SharedScorer(ModelSettings(model="embedded"))) for _ in range(2))
    assert first.state.door.metrics is not second.state.door.metrics
    assert b"fr_reranker_http_requests_in_flight 0.0" in first.state.door.metrics.exposition()
    assert b"fr_reranker_pairs_total" not in second.state.door.metrics.exposition(), "nothing is loaded yet"
