"""From models and a collection to everything that is reported: what `fr-reranker evaluate` runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fr_reranker_plugin.collections import JudgedCollection
from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.evaluation.database import EvaluationDatabase
from fr_reranker_plugin.evaluation.evaluation import Evaluation, EvaluationSettings, ScoreBlocks
from fr_reranker_plugin.evaluation.first_stages import CandidateSource, FirstStages
from fr_reranker_plugin.evaluation.latency import Latency, measure_latency, peak_gpu_memory, peak_memory
from fr_reranker_plugin.evaluation.pair_scoring import by_scorer
from fr_reranker_plugin.evaluation.progress import ShowProgress, show_nothing
from fr_reranker_plugin.evaluation.provenance import ModelFacts, model_facts
from fr_reranker_plugin.evaluation.report import Measured
from fr_reranker_plugin.evaluation.results import measure_all
from fr_reranker_plugin.evaluation.thresholds import measured_curve
from fr_reranker_plugin.retrieval.folder_lock import FolderLock
from fr_reranker_plugin.scoring.settings import BatchSettings, ModelSettings
from fr_reranker_plugin.scoring.shared import SharedScorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is evaluated.

    :param collection: The questions and judgements.
    :param models: Compared on the same candidates; they are in memory one after the other.
    :param first_stages: Where candidates come from.
    :param settings: What is reranked and measured.
    :param batch: How much is scored at once.
    :param threshold_curve: Measure what thresholds keep, too.
    :param latency: Time single queries, too.
    :param score_elsewhere: Gives what scores the blocks of a model; `None`: a `SharedScorer` in this process.
    :raises SettingsError: If there is no model, or one twice.
    """

    collection: JudgedCollection
    models: tuple[ModelSettings, ...]
    first_stages: FirstStages
    settings: EvaluationSettings
    batch: BatchSettings | None = None
    threshold_curve: bool = False
    latency: bool = True
    score_elsewhere: Callable[[ModelSettings], ScoreBlocks] | None = None

    def __post_init__(self) -> None:
        names = [model.model for model in self.models]
        if not names or len(set(names)) < len(names):
            raise SettingsError(f"expected one or more different models, got {names}")


@contextmanager
def evaluated(plan: Plan, folder: Path, *, show: ShowProgress = show_nothing) -> Iterator[Measured]:
    """Evaluate models on a collection, and keep what was computed in `folder`: the same call goes on where it ended.

    :param folder: Made if there is none.
    :raises CollectionError: If candidates or passages are missing or malformed.
    :raises SettingsError: If something is asked for that cannot be, or the folder holds another evaluation.
    :raises IndexLockedError: If another process evaluates into the folder.
    :raises ModelLoadError: If a model cannot be loaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = {model.model: _facts(plan, model) for model in plan.models}
    with (
        closing(_Writer(folder / "writer.lock")),
        EvaluationDatabase(folder / "evaluation.sqlite", plan.collection) as database,
    ):
        evaluation = Evaluation(plan.collection, database, plan.settings)
        _add_stages(evaluation, plan, folder, show)
        latencies = {model.model: _scored(evaluation, plan, model, facts[model.model], show) for model in plan.models}
        yield _measured(evaluation, plan, facts, latencies, show)


def _facts(plan: Plan, model: ModelSettings) -> ModelFacts:
    facts = model_facts(model)
    return facts if plan.score_elsewhere is None else replace(facts, device="cluster")  # not this machine's


class _Writer(FolderLock):
    """The one process that evaluates into the folder."""

    def close(self) -> None:
        """Let others evaluate."""
        self.release()


def _add_stages(evaluation: Evaluation, plan: Plan, folder: Path, show: ShowProgress) -> None:
    with CandidateSource(plan.collection, plan.first_stages, folder / "index", show) as source:
        for name in plan.first_stages.names:
            candidates = source.reader(name, plan.settings.largest_pool)
            with show(f"first stage {name}", None):
                evaluation.add_stage(name, candidates, plan.first_stages.identity(name, plan.settings.largest_pool))
    with show("reading passages", None):
        evaluation.fill_texts()


def _scored(
    evaluation: Evaluation, plan: Plan, model: ModelSettings, facts: ModelFacts, show: ShowProgress
) -> list[Latency]:
    """Score what a model has not scored yet, and time it."""
    if plan.score_elsewhere is not None:
        _score(evaluation, facts, plan.score_elsewhere(model), show)
        return []
    with closing(SharedScorer(model, plan.batch)) as scorer:
        _score(evaluation, facts, by_scorer(scorer, in_flight=1 + len(model.devices)), show)
        return _latencies(evaluation, scorer, show) if plan.latency else []


def _score(evaluation: Evaluation, facts: ModelFacts, score_blocks: ScoreBlocks, show: ShowProgress) -> None:
    if unscored := evaluation.count_unscored(facts.key):
        with show(f"scoring with {facts.name}", unscored) as advance:
            evaluation.score(facts.key, score_blocks, advance)


def _latencies(evaluation: Evaluation, scorer: SharedScorer, show: ShowProgress) -> list[Latency]:
    stage, pools = evaluation.stages[0], evaluation.settings.pools
    scorer.warm_up()
    found = []
    with show("timing single queries", len(pools)) as advance:
        for pool in pools:
            found.append(measure_latency(evaluation, stage, scorer, pool))
            advance(1)
    return found


def _measured(
    evaluation: Evaluation,
    plan: Plan,
    facts: dict[str, ModelFacts],
    latencies: dict[str, list[Latency]],
    show: ShowProgress,
) -> Measured:
    with show("measuring", None):
        keys = {name: known.key for name, known in facts.items()}
        curves = {
            (stage, name): measured_curve(evaluation, stage, key)
            for stage in evaluation.stages
            for name, key in keys.items()
            if plan.threshold_curve
        }
        rows = list(measure_all(evaluation, keys))
    memory = {"process": peak_memory(), "gpu": peak_gpu_memory()}
    return Measured(evaluation=evaluation, rows=rows, models=facts, curves=curves, latencies=latencies, memory=memory)
