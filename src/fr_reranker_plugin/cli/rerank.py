"""`fr-reranker rerank`: order passages by their relevance to a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fr_reranker_plugin.cli.calibration import CalibrationOption, read_calibration
from fr_reranker_plugin.cli.first_stage_weight import FirstStageWeightOption
from fr_reranker_plugin.cli.long_documents import LongDocumentsOption, LongPassages, WindowOverlapOption, reading
from fr_reranker_plugin.cli.model_options import ModelOptions, with_model_options
from fr_reranker_plugin.cli.passages import PassageFormat, read_passages
from fr_reranker_plugin.cli.printing import note, one_line, print_json_list, results
from fr_reranker_plugin.collections.written_passages import InputPassage
from fr_reranker_plugin.errors import SettingsError

if TYPE_CHECKING:
    from fr_reranker_plugin.scoring.candidates import Scored
    from fr_reranker_plugin.scoring.ranking import Ranked


@with_model_options
def rerank(  # noqa: PLR0913 -- each parameter is an option of the command
    options: ModelOptions,
    query: Annotated[str, typer.Argument(help="The question, in one argument.")],
    file: Annotated[str, typer.Argument(help="A file, a BEIR folder, or - for standard input.")] = "-",
    *,
    passage_format: Annotated[
        PassageFormat, typer.Option("--format", help="How the passages are written; auto looks.")
    ] = PassageFormat.AUTO,
    top_k: Annotated[int | None, typer.Option(min=1, help="How many to keep; default: all.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Keep scores of at least this much.")] = None,
    raw_scores: Annotated[
        bool, typer.Option("--raw-scores", help="Logits instead of scores from 0 to 1; --threshold too.")
    ] = False,
    calibration: CalibrationOption = None,
    first_stage_weight: FirstStageWeightOption = 0.0,
    long_documents: LongDocumentsOption = LongPassages.TRUNCATE,
    window_overlap: WindowOverlapOption = 64,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list, one object a line.")] = False,
) -> None:
    """Order passages by their relevance to a query, best first.

    Passages are read from text lines, a JSON list, JSON lines (objects with 'text', 'content' or 'page_content', and
    perhaps 'title' and 'id'), or a BEIR corpus.
    """
    from fr_reranker_plugin.scoring.ranking import rank_by_score
    from fr_reranker_plugin.scoring.settings import check_first_stage_weight, check_threshold

    if not query.strip():
        raise SettingsError("the query must have text, got an empty one; put the question into quotes")
    check_threshold(threshold)
    check_first_stage_weight(first_stage_weight)
    calibrated = read_calibration(calibration, model=options.model, raw_scores=raw_scores)
    passages = read_passages(file, passage_format)
    if not passages:
        note(f"no passages in {file}; nothing to rerank")
    rows: list[dict[str, Any]] = []
    if passages:
        scored = _scored(options, query, passages, long_documents, window_overlap)
        best = rank_by_score(
            scored.logits,
            top_k=top_k,
            score_threshold=threshold,
            scale_score=not raw_scores,
            calibration=calibrated,
            first_stage_weight=first_stage_weight,
        )
        rows = [_row(rank, ranked, passages[ranked.index], scored) for rank, ranked in enumerate(best, start=1)]
    if as_json:
        print_json_list(rows)
    else:
        _print_table(rows, title="logit" if raw_scores else "score")


def _scored(
    options: ModelOptions, query: str, passages: Sequence[InputPassage], rule: LongPassages, overlap: int
) -> Scored:
    from fr_reranker_plugin.cli.scoring import opened_scorer, score_candidates
    from fr_reranker_plugin.scoring.candidates import Candidates

    candidates = Candidates.from_passages(
        query, [passage.text if passage.text.strip() else None for passage in passages]
    )
    with opened_scorer(options) as scorer:
        [scored] = score_candidates(reading(scorer, rule, overlap=overlap), [candidates])
    return scored


def _row(rank: int, ranked: Ranked, passage: InputPassage, scored: Scored) -> dict[str, Any]:
    return {
        "rank": rank,
        "index": ranked.index,
        "id": passage.id,
        "score": ranked.score,
        "logit": ranked.logit,
        "truncated": ranked.index in scored.truncated,
        "text": passage.text,
        **scored.found(ranked.index),
    }


def _print_table(rows: Sequence[dict[str, Any]], *, title: str) -> None:
    from rich.table import Table

    if not rows:
        return
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column(title, justify="right", no_wrap=True)
    table.add_column("index" if all(row["id"] is None for row in rows) else "id")
    table.add_column("passage", ratio=1, no_wrap=True, overflow="ellipsis")
    for row in rows:
        name = row["index"] if row["id"] is None else row["id"]
        cut = "*" if row["truncated"] else ""
        shown = row["best_passage"]["text"] if "best_passage" in row else row["text"]
        table.add_row(f"{row['rank']}", f"{row['score']:.4f}{cut}", one_line(str(name)), one_line(shown))
    results().print(table)
    cut = sum(row["truncated"] for row in rows)
    if cut:
        note(f"{cut} of {len(rows)} passages are longer than the model reads, and their ends were not seen (marked *)")
