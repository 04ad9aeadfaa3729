"""`fr-reranker rerank-dataset`: order the passages of every row of a data set."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fr_reranker_plugin.cli.calibration import CalibrationOption, read_calibration
from fr_reranker_plugin.cli.long_documents import (
    LongDocumentsOption,
    LongPassages,
    WindowOverlapOption,
    window_settings,
)
from fr_reranker_plugin.cli.model_options import ModelOptions, with_model_options
from fr_reranker_plugin.cli.printing import note, print_facts, print_json
from fr_reranker_plugin.errors import SettingsError

if TYPE_CHECKING:
    from fr_reranker_plugin.bulk import BulkSettings, Summary
    from fr_reranker_plugin.scoring.ray_workers import RayCluster

_CLUSTER = "Cluster"


class BadRows(StrEnum):
    """What becomes of a row that cannot be ranked."""

    FAIL = "fail"
    SKIP = "skip"


@with_model_options
def rerank_dataset(  # noqa: PLR0913 -- each parameter is an option of the command
    options: ModelOptions,
    data_set: Annotated[Path, typer.Argument(help="A .jsonl or .parquet file, or a folder of them.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the rankings; the same command again goes on where it ended.")],
    top_k: Annotated[int | None, typer.Option(min=1, help="How many to keep of each query; default: all.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Keep scores of at least this much.")] = None,
    raw_scores: Annotated[
        bool, typer.Option("--raw-scores", help="Logits instead of scores from 0 to 1; --threshold too.")
    ] = False,
    calibration: CalibrationOption = None,
    long_documents: LongDocumentsOption = LongPassages.TRUNCATE,
    window_overlap: WindowOverlapOption = 64,
    on_error: Annotated[
        BadRows, typer.Option(help="fail: stop at a row that cannot be ranked; skip: note it in errors-*.jsonl.")
    ] = BadRows.FAIL,
    checkpoint_every: Annotated[
        int, typer.Option(min=1, help="Passages of one part; a kill loses the parts that are under way.")
    ] = 10_000,
    ray: Annotated[bool, typer.Option("--ray", help="Score on a Ray cluster.", rich_help_panel=_CLUSTER)] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Copies of the model; default: one for each GPU, or else each node.", rich_help_panel=_CLUSTER
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="Of a running cluster; default: one on this machine.", rich_help_panel=_CLUSTER),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Order the passages of every query of a data set by their relevance, and write the rankings into a folder.

    A row has a 'query', 'passages' (strings, or objects with 'text', perhaps 'title' and 'id'), and perhaps an 'id'.
    Interrupted, the same command goes on where it was.
    """
    from fr_reranker_plugin.bulk import BulkSettings
    from fr_reranker_plugin.scoring.ray_workers import RayCluster

    if (workers or ray_address) and not ray:
        raise SettingsError("--workers and --ray-address say where --ray runs; add --ray")
    settings = BulkSettings(
        top_k=top_k,
        score_threshold=threshold,
        scale_score=not raw_scores,
        calibration=read_calibration(calibration, model=options.model, raw_scores=raw_scores),
        windows=window_settings(long_documents, overlap=window_overlap),
        on_error=on_error.value,
        checkpoint_every=checkpoint_every,
    )
    cluster = RayCluster(workers=workers, address=ray_address) if ray else None
    summary = _ranked(options, data_set, out, settings, cluster)
    _tell(summary, out, as_json=as_json)


def _ranked(
    options: ModelOptions, path: Path, out: Path, settings: BulkSettings, cluster: RayCluster | None
) -> Summary:
    from fr_reranker_plugin.bulk import DataSet, by_ray, by_scorer, rank_data_set
    from fr_reranker_plugin.cli.evaluate_run import show_bar
    from fr_reranker_plugin.cli.scoring import silence_libraries
    from fr_reranker_plugin.evaluation.provenance import model_facts
    from fr_reranker_plugin.scoring.shared import SharedScorer

    data_set, model = DataSet(path), options.model_settings()
    silence_libraries()
    key = model_facts(model).key
    with show_bar("ranking rows", None) as on_progress:
        if cluster is not None:
            score = by_ray(model, options.batch_settings(), cluster)
            return rank_data_set(data_set, out, score, model=key, settings=settings, on_progress=on_progress)
        scorer = SharedScorer(model, options.batch_settings())
        try:
            score = by_scorer(scorer)
            return rank_data_set(data_set, out, score, model=key, settings=settings, on_progress=on_progress)
        finally:
            scorer.close()


def _tell(summary: Summary, out: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(summary))
    else:
        print_facts([("folder", str(out)), *((name, str(value)) for name, value in asdict(summary).items())])
    if summary.bad:
        note(f"{summary.bad} of {summary.rows} rows could not be ranked; {out}/errors-*.jsonl says why")
