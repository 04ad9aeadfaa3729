"""`fr-reranker evaluate`: how well models rank the passages of judged questions."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fr_reranker_plugin.cli.model_options import ModelOptions, with_model_options
from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.settings import EMBEDDED

_PANEL = "Collection"
_STAGES = "Candidates"
_CLUSTER = "Cluster"


class Protocols(StrEnum):
    """Whether a first stage may miss what is relevant."""

    POOL = "pool"
    TWO_STAGE = "two-stage"


@with_model_options
def evaluate(  # noqa: PLR0913 -- each parameter is an option of the command
    options: ModelOptions,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the report; the same command again goes on where it ended.")],
    collection: Annotated[
        list[str] | None,
        typer.Option(help="'sample', a BEIR folder, FOLDER:SPLIT, or a name of ir_datasets; repeatable.",
                     rich_help_panel=_PANEL),
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="Passages: corpus.jsonl or collection.tsv.", rich_help_panel=_PANEL)
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Questions: queries.jsonl or queries.tsv.", rich_help_panel=_PANEL)
    ] = None,
    qrels: Annotated[
        Path | None, typer.Option(help="Judgements: three columns of BEIR, or four of TREC.", rich_help_panel=_PANEL)
    ] = None,
    candidates: Annotated[
        Path | None,
        typer.Option(help="Candidate lists: a run of TREC or MS MARCO, top1000.tsv, or JSONL with qid, pos, neg.",
                     rich_help_panel=_STAGES),
    ] = None,
    protocol: Annotated[
        Protocols,
        typer.Option(help="pool: what is relevant is always among the candidates; two-stage: as a first stage found.",
                     rich_help_panel=_STAGES),
    ] = Protocols.TWO_STAGE,
    first_stage: Annotated[
        str | None,
        typer.Option(help="bm25, dense, hybrid, given, or a run file; several with commas. Default: given where there "
                          "are candidate lists, else dense.", rich_help_panel=_STAGES),
    ] = None,
    pools: Annotated[
        str | None,
        typer.Option(help="How many candidates are reranked, several with commas; 'all' for all that are given. "
                          "Default: 20,50,100, or all of the lists given.", rich_help_panel=_STAGES),
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="Bi-encoder of dense and hybrid: 'embedded', a folder, or a Hub model.",
                          rich_help_panel=_STAGES)
    ] = EMBEDDED,
    index: Annotated[
        Path | None, typer.Option(help="A folder of 'fr-reranker index' to search instead.", rich_help_panel=_STAGES)
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(help="A measure of https://ir-measur.es, as nDCG@10; repeatable, the first is compared."),
    ] = None,
    relevant_from: Annotated[int, typer.Option(min=1, help="The lowest grade that counts as relevant.")] = 1,
    threshold_curve: Annotated[
        bool, typer.Option("--threshold-curve", help="What thresholds of the score keep, and the best one.")
    ] = False,
    latency: Annotated[
        bool, typer.Option("--latency/--no-latency", help="Time single questions, too.")
    ] = True,
    first_stage_weight: Annotated[
        float,
        typer.Option(help="Measure each model also together with the order of the first stage, which counts so much: "
                          "from 0 to below 1."),
    ] = 0.0,
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="Questions between two checkpoints; default: some 1,000 pairs.")
    ] = None,
    questions: Annotated[
        int | None, typer.Option(min=1, help="Only so many questions of each collection, drawn by --seed.")
    ] = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="Score on a Ray cluster.", rich_help_panel=_CLUSTER)
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Copies of the model; default: one for each GPU, or else each node.",
                     rich_help_panel=_CLUSTER),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="Of a running cluster; default: one on this machine.", rich_help_panel=_CLUSTER),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap, and of --questions.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reports as JSON.")] = False,
) -> None:  # fmt: skip
    """Measure how well models rank the passages of judged questions, and what that costs.

    Several models (--model a,b) are compared on the same candidates. Writes report.md, report.json, plots and TREC run
    files into a folder for each collection. Interrupted, the same command goes on where it was.
    """
    from fr_reranker_plugin.cli.evaluate_run import Request, run
    from fr_reranker_plugin.scoring.ray_workers import RayCluster

    if (workers or ray_address) and not ray:
        raise SettingsError("--workers and --ray-address say where --ray runs; add --ray")
    run(
        Request(
            options=options,
            out=out,
            collections=collection or [],
            corpus=corpus,
            queries=queries,
            qrels=qrels,
            candidates=candidates,
            protocol=protocol.value,
            first_stages=first_stage,
            pools=pools,
            encoder=encoder,
            index=index,
            measures=measure or [],
            relevant_from=relevant_from,
            threshold_curve=threshold_curve,
            latency=latency,
            checkpoint_every=checkpoint_every,
            first_stage_weight=first_stage_weight,
            seed=seed,
            questions=questions,
            cluster=RayCluster(workers=workers, address=ray_address) if ray else None,
        ),
        as_json=as_json,
    )
