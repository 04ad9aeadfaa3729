from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from haystack import Document, tracing
from haystack.tracing import Span, Tracer

from adapters.haystack_documents import QUESTION, ask, french_documents, question_for, search_pipeline
from fr_reranker_plugin import DeadlineExceededError
from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker


class RecordedSpan(Span):
    def __init__(self, name: str, tags: dict[str, Any]) -> None:
        self.name, self.tags = name, dict(tags)

    def set_tag(self, key: str, value: Any) -> None:
        self.tags[key] = value


class RecordingTracer(Tracer):
    """Keeps every span, and knows the current one by context, as OpenTelemetry does."""

    def __init__(self) -> None:
        self.spans: list[RecordedSpan] = []
        self._current: ContextVar[RecordedSpan | None] = ContextVar("span", default=None)

    @contextmanager
    def trace(
        self, operation_name: str, tags: dict[str, Any] | None = None, parent_span: Span | None = None
    ) -> Iterator[Span]:
        span = RecordedSpan(operation_name, tags or {})
        self.spans.append(span)
        token = self._current.set(span)
        try:
            yield span
        finally:
            self._current.reset(token)

    def current_span(self) -> Span | None:
        return self._current.get()

    def of_ranker(self) -> dict[str, Any]:
        """The tags of the ranker's own span, ours only."""
        [span] = [span for span in self.spans if span.tags.get("haystack.component.name") == "ranker"]
        return {key: value for key, value in span.tags.items() if key.startswith("fr_reranker.")}


@pytest.fixture
def tracer() -> Iterator[RecordingTracer]:
    tracer = RecordingTracer()
    tracing.enable_tracing(tracer)
    yield tracer
    tracing.disable_tracing()


@pytest.mark.parametrize("door", ["run", "run_async"])
async def test_the_span_of_the_ranker_tells_what_was_done(tiny_model: str, tracer: RecordingTracer, door: str) -> None:
    ranker = FrenchCrossEncoderRanker(model=tiny_model, max_length=200)
    pipeline = search_pipeline(ranker)
    found = ask(pipeline) if door == "run" else (await pipeline.run_async(question_for()))["ranker"]["documents"]
    tags = tracer.of_ranker()
    assert 0 < tags.pop("fr_reranker.seconds") < 60
    assert tags == {
        "fr_reranker.model": tiny_model,
        "fr_reranker.pairs": len(found),
        "fr_reranker.documents": len(found),
        "fr_reranker.truncated": 0,
    }
    pipeline.close()


def test_cut_documents_and_shared_texts_are_counted(tiny_model: str, tracer: RecordingTracer) -> None:
    ranker = FrenchCrossEncoderRanker(model=tiny_model, max_length=200)
    twins = [Document(id=str(number), content="mot " * 300) for number in range(2)]
    with tracer.trace("test", {"haystack.component.name": "ranker"}):
        ranker.run(QUESTION, [*french_documents(), *twins, Document(id="blank")])
    tags = tracer.of_ranker()
    assert (tags["fr_reranker.documents"], tags["fr_reranker.pairs"], tags["fr_reranker.truncated"]) == (9, 7, 2)
    ranker.close()


def test_a_failure_is_tagged_with_its_class(tiny_model: str, tracer: RecordingTracer) -> None:
    ranker = FrenchCrossEncoderRanker(model=tiny_model, timeout=1e-6)
    with (
        tracer.trace("test", {"haystack.component.name": "ranker"}),
        pytest.raises(DeadlineExceededError),
    ):
        ranker.run(QUESTION, french_documents())
    assert tracer.of_ranker()["fr_reranker.error"] == "DeadlineExceededError"
    ranker.close()


def test_no_text_stands_in_any_span(tiny_model: str, tracer: RecordingTracer) -> None:
    pipeline = search_pipeline(FrenchCrossEncoderRanker(model=tiny_model))
    ask(pipeline)
    written = " ".join(str(value) for span in tracer.spans for key, value in span.tags.items() if "fr_reranker" in key)
    assert QUESTION not in written
    assert not any(document.content in written for document in french_documents())
    pipeline.close()


def test_a_ranker_runs_where_there_is_no_span(tiny_model: str, tracer: RecordingTracer) -> None:
    ranker = FrenchCrossEncoderRanker(model=tiny_model)
    assert tracing.tracer.current_span() is None
    assert len(ranker.run(QUESTION, french_documents())["documents"]) == 6
    ranker.close()
