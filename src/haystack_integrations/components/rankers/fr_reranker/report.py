"""What an operator learns of a call: tags on Haystack's trace, and log lines. Neither holds a text."""

from haystack.tracing.tracer import tracer

from haystack_integrations.components.rankers.fr_reranker.request import RankingRequest


def tag_span(
    model: str,
    request: RankingRequest,
    *,
    truncated: int = 0,
    windows: int | None = None,
    error: Exception | None = None,
) -> None:
    """Tag the span that the pipeline opened for this component, if there is one.

    `fr_reranker.pairs` and `.documents` count what was asked for, `.truncated` the documents that were not read to
    their end; `.windows` counts what was scored where long documents are read in windows; `.seconds` is the time of the
    whole call, waiting included; `.error` is the class of a failure.
    """
    span = tracer.current_span()
    if span is None:
        return
    span.set_tags(
        {
            "fr_reranker.model": model,
            "fr_reranker.pairs": len(request.pairs),
            "fr_reranker.documents": len(request.documents),
            "fr_reranker.truncated": truncated,
            "fr_reranker.seconds": request.seconds,
        }
    )
    if windows is not None:
        span.set_tag("fr_reranker.windows", windows)
    if error is not None:
        span.set_tag("fr_reranker.error", type(error).__name__)
