"""`fr-reranker search`: find documents in an index, and rerank them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fr_reranker_plugin.cli.model_options import ModelOptions, with_model_options
from fr_reranker_plugin.cli.printing import note, one_line, print_json_list, results
from fr_reranker_plugin.errors import SettingsError

if TYPE_CHECKING:
    from fr_reranker_plugin.retrieval.documents import Hit


_LONGEST_ID: Final = 32


class Method(StrEnum):
    """What finds the candidates."""

    HYBRID = "hybrid"
    DENSE = "dense"
    BM25 = "bm25"


@with_model_options
def search(  # noqa: PLR0913 -- each parameter is an option of the command
    options: ModelOptions,
    folder: Annotated[Path, typer.Argument(help="The folder of an index.")],
    query: Annotated[str, typer.Argument(help="The question, in one argument.")],
    *,
    method: Annotated[Method, typer.Option(help="What finds the candidates.")] = Method.HYBRID,
    candidates: Annotated[int, typer.Option(min=1, help="How many are reranked.")] = 20,
    top_k: Annotated[int, typer.Option(min=1, help="How many to show.")] = 5,
    filters: Annotated[str | None, typer.Option("--filter", help="Which documents may be found, as JSON.")] = None,
    rerank: Annotated[bool, typer.Option(help="Rerank the candidates.")] = True,
    first_stage_weight: Annotated[
        float | None,
        typer.Option(
            help="How much the order of the index counts, 0 to below 1; default: 0.5 with the embedded model, else 0."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list, one object a line.")] = False,
) -> None:
    """Find documents by meaning, by words or by both, and put the most relevant first.

    The index is read beside a writer. A filter looks like '{"field": "meta.year", "operator": ">=", "value": 2020}'.
    """
    from fr_reranker_plugin.cli.scoring import silence_libraries
    from fr_reranker_plugin.retrieval.document_index import DocumentIndex
    from fr_reranker_plugin.scoring.settings import chosen_first_stage_weight

    weight = chosen_first_stage_weight(first_stage_weight, options.model)
    if not query.strip():
        raise SettingsError("the query must have text, got an empty one; put the question into quotes")
    wanted = _filter(filters)
    silence_libraries()
    device, local = options.model_settings().devices[0], options.local_files_only
    with DocumentIndex.open(folder, read_only=True, device=device, local_files_only=local) as index:
        count = max(candidates, top_k) if rerank else top_k
        hits = index.search(query, count, method=method.value, filters=wanted)
    if not hits:
        note(f"nothing found in {folder}")
    rows = (_reranked(options, query, hits, weight) if rerank and hits else _as_found(hits))[:top_k]
    if as_json:
        print_json_list(rows)
    else:
        _print_table(rows, title="score" if rerank else method.value)


def _filter(text: str | None) -> dict[str, Any] | None:
    try:
        value = None if text is None else json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"--filter must be JSON, got {text!r} ({error})") from None
    if value is not None and not isinstance(value, dict):
        raise SettingsError(f"--filter must be a JSON object, got {text!r}")
    return value


def _as_found(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    return [_row(rank, rank, hit, hit.score) for rank, hit in enumerate(hits, start=1)]


def _reranked(options: ModelOptions, query: str, hits: Sequence[Hit], weight: float) -> list[dict[str, Any]]:
    from fr_reranker_plugin.cli.scoring import opened_scorer, score_pairs
    from fr_reranker_plugin.scoring.ranking import rank_by_score

    with opened_scorer(options) as scorer:
        logits = score_pairs(scorer, [(query, hit.document.text) for hit in hits])
    ranked = rank_by_score(logits, first_stage_weight=weight)
    return [_row(rank, best.index + 1, hits[best.index], best.score) for rank, best in enumerate(ranked, 1)]


def _row(rank: int, found_at: int, hit: Hit, score: float) -> dict[str, Any]:
    return {
        "rank": rank,
        "found_at": found_at,
        "id": hit.document.id,
        "score": score,
        "text": hit.document.text,
        "metadata": dict(hit.document.metadata),
    }


def _print_table(rows: Sequence[dict[str, Any]], *, title: str) -> None:
    from rich.table import Table

    if not rows:
        return
    table = Table(box=None, pad_edge=False, expand=True)
    for name in ("rank", "found at", title):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("id")
    table.add_column("passage", ratio=1, no_wrap=True, overflow="ellipsis")
    for row in rows:
        numbers = (f"{row['rank']}", f"{row['found_at']}", f"{row['score']:.4f}")
        table.add_row(*numbers, one_line(_end_of(row["id"])), one_line(row["text"]))
    results().print(table)


def _end_of(name: str) -> str:
    """Give the end of a long id, which often is a path."""
    return name if len(name) <= _LONGEST_ID else f"…{name[1 - _LONGEST_ID :]}"
