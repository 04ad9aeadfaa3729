"""Collections of the ir_datasets catalogue, from its own cache or fetched by it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from fr_reranker_plugin.collections.judged import Candidate, JudgedCollection, Passage, Qrels
from fr_reranker_plugin.errors import CollectionError, MissingDependencyError


def load_ir_datasets(identifier: str) -> JudgedCollection:
    """Open a collection by its name in https://ir-datasets.com, like `mmarco/v2/fr/dev/small`.

    Files come from the library's own folder (`IR_DATASETS_HOME`, by default `~/.ir_datasets`); what is missing there it
    downloads. Where the collection has scored candidates, they come along.

    :raises CollectionError: If there is no such collection, it has no queries or judgements, or it cannot be fetched.
    :raises MissingDependencyError: If ir_datasets is not installed.
    """
    dataset = _open(identifier)
    for part in ("docs", "queries", "qrels"):
        if not getattr(dataset, f"has_{part}")():
            raise CollectionError(f"the collection {identifier!r} of ir_datasets has no {part}; name one of its splits")
    qrels: Qrels = {}
    for judgement in _fetched(identifier, dataset.qrels_iter()):
        qrels.setdefault(judgement.query_id, {})[judgement.doc_id] = int(judgement.relevance)
    queries = {
        query.query_id: query.default_text()
        for query in _fetched(identifier, dataset.queries_iter())
        if query.query_id in qrels
    }

    def passages() -> Iterator[tuple[str, Passage]]:
        for document in _fetched(identifier, dataset.docs_iter()):
            title = getattr(document, "title", "") or ""
            text = document.text if hasattr(document, "text") else document.default_text()
            yield document.doc_id, Passage(title, text)

    def candidates() -> Iterator[Candidate]:
        for scored in _fetched(identifier, dataset.scoreddocs_iter()):
            yield Candidate(scored.query_id, scored.doc_id, float(scored.score))

    return JudgedCollection(
        name=identifier,
        queries=queries,
        qrels=qrels,
        passages=passages,
        fingerprint=_fingerprint(identifier, queries, qrels),
        candidates=candidates if dataset.has_scoreddocs() else None,
    )


def _open(identifier: str) -> Any:  # noqa: ANN401 -- the library's classes have no types
    try:
        import ir_datasets
    except ImportError as error:
        raise MissingDependencyError(
            "collections of ir_datasets need it: pip install 'fr-reranker-plugin[evaluate]'"
        ) from error
    try:
        return ir_datasets.load(identifier)
    except KeyError:
        raise CollectionError(
            f"ir_datasets has no collection {identifier!r}, and there is no folder of that name; see https://ir-datasets.com"
        ) from None


def _fetched(identifier: str, rows: Iterator[Any]) -> Iterator[Any]:
    """Yield rows; what the library raises when it cannot fetch a file becomes one clear error."""
    try:
        yield from rows
    except (OSError, RuntimeError) as error:
        raise CollectionError(
            f"ir_datasets could not give {identifier!r} ({type(error).__name__}: {str(error).partition(chr(10))[0]}); "
            "connect once, or put its files into IR_DATASETS_HOME"
        ) from error


def _fingerprint(identifier: str, queries: dict[str, str], qrels: Qrels) -> str:
    known = [
        identifier,
        version("ir-datasets"),
        sorted(queries.items()),
        sorted((q, sorted(g.items())) for q, g in qrels.items()),
    ]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()
