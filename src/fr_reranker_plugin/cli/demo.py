"""`fr-reranker demo`: French questions, before and after reranking."""

from __future__ import annotations

from typing import Annotated

import typer

from fr_reranker_plugin.cli.first_stage_weight import FirstStageWeightOption
from fr_reranker_plugin.cli.model_options import ModelOptions, with_model_options
from fr_reranker_plugin.cli.printing import print_json
from fr_reranker_plugin.scoring.settings import EMBEDDED


@with_model_options
def demo(  # noqa: PLR0913 -- each parameter is an option of the command
    options: ModelOptions,
    *,
    number: Annotated[int, typer.Option("--questions", min=1, help="How many questions of the sample to show.")] = 3,
    question: Annotated[list[str] | None, typer.Option(help="Your own question instead; may be repeated.")] = None,
    query_id: Annotated[list[str] | None, typer.Option(help="A question of the sample, as q01; repeatable.")] = None,
    candidates: Annotated[int, typer.Option(min=1, help="Passages that the first stage hands on.")] = 20,
    rows: Annotated[int, typer.Option(min=1, help="Passages to show of each ranking.")] = 5,
    first_stage: Annotated[str, typer.Option(help="The bi-encoder: 'embedded', a folder, or a Hub model.")] = EMBEDDED,
    first_stage_weight: FirstStageWeightOption = 0.5,
    summary: Annotated[
        bool | None,
        typer.Option("--summary/--no-summary", help="Measure all questions of the sample; default: not for your own."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, with all candidates.")] = False,
) -> None:
    """Ask questions about public life in France, and show what reranking changes.

    A bi-encoder compares each question with the 327 passages of the sample collection; the cross-encoder reranks the
    best of them, and the order of the first stage counts as much. Nothing is fetched from the network unless you name
    another model.
    """
    from fr_reranker_plugin.cli.comparison import choose_questions
    from fr_reranker_plugin.cli.demo_run import DemoRun, Stages
    from fr_reranker_plugin.cli.demo_tables import print_comparison, print_heading, print_summary
    from fr_reranker_plugin.collections import load_collection, sample_folder
    from fr_reranker_plugin.scoring.settings import check_first_stage_weight

    check_first_stage_weight(first_stage_weight)
    collection = load_collection(sample_folder())
    shown = choose_questions(collection, number=number, ids=query_id or [], texts=question or [])
    if not as_json:
        print_heading(first_stage_weight)
    stages = Stages(first_stage, candidates, first_stage_weight)
    with DemoRun.started(collection, options, stages) as run:
        comparisons = run.compare(shown, label="reranking")
        for comparison in comparisons if not as_json else ():
            print_comparison(comparison, rows=rows)
        measured = run.measure(comparisons) if (summary if summary is not None else not question) else None
    report = run.report(comparisons, measured)
    if as_json:
        print_json(report)
    else:
        print_summary(report)
