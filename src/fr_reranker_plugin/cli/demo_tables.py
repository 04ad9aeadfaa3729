"""How the demo shows a question before and after reranking."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from fr_reranker_plugin.cli.comparison import Comparison, Hit
from fr_reranker_plugin.cli.printing import one_line, results

_MARKS: Final = {1: "●", 2: "●●"}
_STYLES: Final = {1: "yellow", 2: "green"}


def print_heading(weight: float) -> None:
    """Explain the marks and arrows.

    :param weight: How much the order of the first stage counts after reranking.
    """
    print("Before: order of the first stage, by cosine. After: order of the cross-encoder, score from 0 to 1.")
    if weight:
        print(f"The first stage's order counts {weight:.0%} after reranking (--first-stage-weight 0: not at all).")
    print("●● answers the question, ● helps (human judgements); ↑ ↓ = places moved by reranking.", flush=True)


def print_comparison(comparison: Comparison, *, rows: int) -> None:
    """Print the first `rows` of both rankings side by side."""
    console = results()
    name = f"{comparison.question.id}  " if comparison.question.id else ""
    console.print()
    console.print(one_line(name + comparison.question.text, style="bold"))
    table = Table(box=None, pad_edge=False, expand=True, padding=(0, 1, 0, 0))
    table.add_column("#", justify="right", no_wrap=True)
    for title, moves in (("before", False), ("after", True)):
        table.add_column("cosine" if not moves else "score", justify="right", no_wrap=True)
        if moves:
            table.add_column("moved", no_wrap=True)
        table.add_column("", no_wrap=True)
        table.add_column(title, ratio=1)
    pairs = zip_longest(comparison.first_stage[:rows], comparison.reranked[:rows])
    for rank, (before, after) in enumerate(pairs, start=1):
        table.add_row(str(rank), *_cells(before), *_cells(after, arrow(after.moved)))
    console.print(table)
    sys.stdout.flush()


def print_summary(report: Mapping[str, Any]) -> None:
    """Print what reranking does to all judged questions, if that was measured, and the timings."""
    summary, seconds = report["summary"], report["seconds"]
    print()
    if summary is not None:
        print(f"{summary['questions']} judged questions:")
        rows = {"first stage alone": "first_stage", "reranked by the cross-encoder alone": "cross_encoder"}
        if summary["first_stage_weight"]:
            rows["reranked by both"] = "reranked"
        for title, name in rows.items():
            found = summary[name]
            print(f"  {title:<36}nDCG@10 {found['ndcg_at_10']:.3f}, MRR@10 {found['mrr_at_10']:.3f}")
    print(f"models loaded in {seconds['load_models']:.1f} s, passages encoded in {seconds['encode_passages']:.1f} s")
    print(
        f"per question: first stage {seconds['first_stage_per_question'] * 1000:.0f} ms, "
        f"reranking {seconds['rerank_per_question'] * 1000:.0f} ms"
    )


def arrow(moved: int) -> str:
    """Show how many places a passage went up or down."""
    if moved == 0:
        return "="
    return f"↑ {moved}" if moved > 0 else f"↓ {-moved}"


def _cells(hit: Hit, *moved: str) -> list[str | Text]:
    grade = hit.grade or 0
    style = _STYLES.get(grade, "")
    return [f"{hit.score:.3f}", *moved, Text(_MARKS.get(grade, ""), style), one_line(hit.title, style)]
