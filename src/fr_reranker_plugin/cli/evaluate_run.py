"""What `fr-reranker evaluate` does between reading its arguments and printing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final

from fr_reranker_plugin.cli.model_options import ModelOptions
from fr_reranker_plugin.cli.printing import note, print_json_list, results
from fr_reranker_plugin.cli.scoring import silence_libraries
from fr_reranker_plugin.collections import JudgedCollection, open_files
from fr_reranker_plugin.collections.opening import SAMPLE, open_named
from fr_reranker_plugin.errors import CollectionError, SettingsError
from fr_reranker_plugin.evaluation.evaluate import Plan, evaluated
from fr_reranker_plugin.evaluation.evaluation import EvaluationSettings, ScoreBlocks
from fr_reranker_plugin.evaluation.first_stages import GIVEN, FirstStages
from fr_reranker_plugin.evaluation.markdown import as_markdown
from fr_reranker_plugin.evaluation.measures import CARD_MEASURES, DEFAULT_MEASURES
from fr_reranker_plugin.evaluation.plots import draw
from fr_reranker_plugin.evaluation.pools import Protocol
from fr_reranker_plugin.evaluation.ray_scoring import by_ray
from fr_reranker_plugin.evaluation.report import Measured, as_report
from fr_reranker_plugin.evaluation.run_files import file_name, write_runs
from fr_reranker_plugin.retrieval.durable_files import replace_file
from fr_reranker_plugin.scoring.ray_workers import RayCluster
from fr_reranker_plugin.scoring.settings import ModelSettings

_ALL: Final = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for on the command line; see the options of `evaluate`."""

    options: ModelOptions
    out: Path
    collections: Sequence[str]
    corpus: Path | None
    queries: Path | None
    qrels: Path | None
    candidates: Path | None
    protocol: Protocol
    first_stages: str | None
    pools: str | None
    encoder: str
    index: Path | None
    measures: Sequence[str]
    relevant_from: int
    threshold_curve: bool
    latency: bool
    checkpoint_every: int | None
    first_stage_weight: float
    seed: int
    questions: int | None
    cluster: RayCluster | None

    def plan(self, collection: JudgedCollection) -> Plan:
        """Give what is evaluated on a collection.

        :raises SettingsError: If a value is not allowed.
        """
        model = self.options.model_settings()
        return Plan(
            collection=collection,
            models=tuple(replace(model, model=name.strip()) for name in self.options.model.split(",")),
            first_stages=self._stages(collection),
            settings=EvaluationSettings(
                protocol=self.protocol,
                pools=self._pools(collection),
                measures=tuple(self.measures) or (CARD_MEASURES if self.protocol == "pool" else DEFAULT_MEASURES),
                relevant_from=self.relevant_from,
                checkpoint_every=self.checkpoint_every,
                first_stage_weight=self.first_stage_weight,
                seed=self.seed,
            ),
            batch=self.options.batch_settings(),
            threshold_curve=self.threshold_curve,
            latency=self.latency,
            score_elsewhere=self._elsewhere(),
        )

    def opened(self) -> Iterator[JudgedCollection]:
        """Yield the collections, with as many of their questions as were asked for.

        :raises CollectionError: If one cannot be read.
        :raises SettingsError: If folders and single files are named together.
        """
        for collection in self._whole():
            yield collection if self.questions is None else collection.sample(self.questions, seed=self.seed)

    def _whole(self) -> Iterator[JudgedCollection]:
        files = [path for path in (self.corpus, self.queries, self.qrels) if path is not None]
        if self.collections and files:
            raise SettingsError("name collections, or the files of one (--corpus, --queries, --qrels), not both")
        if files or (self.candidates is not None and not self.collections):
            name = (self.qrels or self.candidates or files[0]).name
            yield open_files(
                corpus=self.corpus, queries=self.queries, qrels=self.qrels, candidates=self.candidates, name=name
            )
            return
        for name in self.collections or [SAMPLE]:
            yield open_named(name, candidates=self.candidates)

    def _elsewhere(self) -> Callable[[ModelSettings], ScoreBlocks] | None:
        return (
            None if self.cluster is None else partial(by_ray, batch=self.options.batch_settings(), cluster=self.cluster)
        )

    def _stages(self, collection: JudgedCollection) -> FirstStages:
        if self.protocol == "pool" and self.first_stages is None and collection.candidates is None:
            raise SettingsError("the pool protocol needs candidates: give --candidates FILE, or a first stage")
        default = GIVEN if collection.candidates is not None else "dense"
        names = tuple(name.strip() for name in (self.first_stages or default).split(","))
        return FirstStages(names=names, encoder=self.options.encoder_settings(self.encoder), index=self.index)

    def _pools(self, collection: JudgedCollection) -> tuple[int | None, ...]:
        given = self.first_stages in (None, GIVEN) and collection.candidates is not None
        names = (self.pools or (_ALL if given else "20,50,100")).split(",")
        try:
            return tuple(None if name.strip() == _ALL else int(name) for name in names)
        except ValueError:
            raise SettingsError(f"--pools takes whole numbers and 'all', with commas; got {self.pools!r}") from None


def run(request: Request, *, as_json: bool) -> None:
    """Evaluate, write everything into the folder, and print the report."""
    silence_libraries()
    reports = []
    plans = [request.plan(collection) for collection in request.opened()]  # what is wrong is said before the work
    for plan, folder in zip(plans, _folders(request.out, plans), strict=True):
        report, page = _evaluated(plan, folder)
        reports.append(report)
        if not as_json:
            _print(page)
        note(f"report, plots and run files are in {folder}")
    if as_json:
        print_json_list(reports)


def _folders(out: Path, plans: Sequence[Plan]) -> list[Path]:
    folders = [out / file_name(plan.collection.name).strip("-") for plan in plans]
    for folder in folders:
        if folders.count(folder) > 1:
            raise SettingsError(
                f"several of the collections would be evaluated in {folder}; evaluate them one by one, each with an "
                "--out of its own"
            )
    return folders


def _evaluated(plan: Plan, folder: Path) -> tuple[dict[str, Any], str]:
    with evaluated(plan, folder, show=show_bar) as measured:
        report = as_report(measured)
        plots = [path.name for path in draw(measured, folder)]
        page = as_markdown(report, plots)
        _write_runs(measured, folder / "runs")
    content = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
    replace_file(folder / "report.json", content.encode())
    replace_file(folder / "report.md", page.encode())
    return report, page


def _write_runs(measured: Measured, folder: Path) -> None:
    """Write what has a form as a run; the report does not depend on it."""
    try:
        list(write_runs(measured, folder))
    except CollectionError as error:
        note(str(error))


def _print(page: str) -> None:
    from rich.markdown import Markdown

    console = results()
    if console.is_terminal:
        console.print(Markdown(page))
    else:
        print(page, end="")


@contextmanager
def show_bar(label: str, total: int | None) -> Iterator[Callable[[int], object]]:
    """Show a bar on a terminal, with things a second and the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    start, done = monotonic(), 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=total)

        def advance(steps: int) -> None:
            nonlocal done
            done += steps
            rate = done / max(monotonic() - start, 1e-9)
            progress.update(task, advance=steps, description=f"{label}, {rate:.1f}/s")

        yield advance
