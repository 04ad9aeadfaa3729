"""One collection under evaluation: which pairs must be scored, and the rankings that the scores make."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Final, NamedTuple

from fr_reranker_plugin.collections import Candidate, JudgedCollection
from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.evaluation.database import Counted, EvaluationDatabase, Judged
from fr_reranker_plugin.evaluation.measures import DEFAULT_MEASURES, check_measures
from fr_reranker_plugin.evaluation.pools import Protocol, neutral_order, pool_of, reranked
from fr_reranker_plugin.retrieval.encoding_stream import in_blocks
from fr_reranker_plugin.scoring.ranking import BLANK_LOGIT, blended
from fr_reranker_plugin.scoring.scorer import Logits, Pair
from fr_reranker_plugin.scoring.settings import check_first_stage_weight, check_whole_number

_PAIRS_OF_A_BLOCK: Final = 1024
_QUERIES_READ_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """What is reranked and measured.

    :param protocol: See `Protocol`.
    :param pools: How many candidates of each query are reranked, in one row of the report each; `None` is all.
    :param measures: Names of https://ir-measur.es.
    :param relevant_from: The lowest grade that counts as relevant.
    :param checkpoint_every: Queries whose logits are kept together: at most so many, twice, are scored again after a
        kill. `None`: about 1,000 pairs.
    :param first_stage_weight: Measure each model also together with the order of a first stage that ranks, which counts
        so much; 0: each model alone.
    :param seed: Of the bootstrap, from 0.
    :raises SettingsError: If a value is not allowed.
    """

    protocol: Protocol = "two-stage"
    pools: tuple[int | None, ...] = (20, 50, 100)
    measures: tuple[str, ...] = DEFAULT_MEASURES
    relevant_from: int = 1
    checkpoint_every: int | None = None
    first_stage_weight: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.pools or len(set(self.pools)) != len(self.pools):
            raise SettingsError(f"pools must be different numbers of candidates, got {self.pools}")
        for name, value in [*(("a pool", pool) for pool in self.pools), ("checkpoint_every", self.checkpoint_every)]:
            if value is not None:
                check_whole_number(name, value)
        check_whole_number("relevant_from", self.relevant_from)
        check_whole_number("seed", self.seed, at_least=0)
        if check_first_stage_weight(self.first_stage_weight) and self.protocol == "pool":
            raise SettingsError("first_stage_weight is for the two-stage protocol: a pool has no order that counts")
        check_measures(self.measures)

    @property
    def weights(self) -> tuple[float, ...]:
        """How much the first stage counts, in one row of the report each."""
        return (0.0, self.first_stage_weight) if self.first_stage_weight else (0.0,)

    @property
    def largest_pool(self) -> int | None:
        """The most candidates that are reranked; `None` is all of them."""
        return None if None in self.pools else max(pool for pool in self.pools if pool is not None)


class Block(NamedTuple):
    """Pairs that are scored and kept together, with query and passage of each by id."""

    places: list[tuple[str, str]]
    pairs: list[Pair]


ScoredBlocks = Generator[tuple[Block, Logits], None, None]

ScoreBlocks = Callable[[Iterator[Block]], ScoredBlocks]
"""Scores blocks, in this process or elsewhere, and gives them back in any order; closed, it drops what is under way."""


class Evaluation:
    """Candidates of a collection's queries by one or more first stages, and the logits of one or more models.

    :param collection: The collection.
    :param database: Where everything is kept; its file may hold what an earlier run did.
    :param settings: What is reranked and measured.
    """

    def __init__(
        self, collection: JudgedCollection, database: EvaluationDatabase, settings: EvaluationSettings
    ) -> None:
        self.collection = collection
        self.settings = settings
        self._database = database
        self.stages: list[str] = []

    @cached_property
    def relevant(self) -> dict[str, list[str]]:
        """The relevant passages of every query."""
        least = self.settings.relevant_from
        return {
            query: [passage for passage, grade in grades.items() if grade >= least]
            for query, grades in self.collection.qrels.items()
        }

    def add_stage(self, name: str, candidates: Callable[[], Iterable[Candidate]], source: str = "") -> None:
        """Rerank what a first stage found; `candidates` is not called where an earlier run kept them.

        :param source: Differs where other candidates would be found: those that were kept are replaced then.
        :raises CollectionError: If a passage stands twice among those of a query, or has no text.
        """
        if not self._database.has_stage(name, source):
            self._database.add_stage(name, candidates(), source)
        self.stages.append(name)

    def fill_texts(self) -> None:
        """Read the texts of all candidates, and with the pool protocol of all relevant passages.

        :raises CollectionError: If there is no such passage.
        """
        if self.settings.protocol == "pool":
            self._database.add_passages({passage for passages in self.relevant.values() for passage in passages})
        self._database.fill_texts(self.collection.passages())

    def candidates(self, stage: str, query: str) -> list[str]:
        """Give what a first stage found for a query, best first; what it did not rank, by `neutral_order`."""
        return self._in_order(stage, [one.passage for one in self._database.ranking(stage, query)])

    def scores(self, stage: str, query: str) -> dict[str, float]:
        """Give the scores of a first stage that ranks, by passage."""
        return {one.passage: one.score for one in self._database.ranking(stage, query) if one.score is not None}

    def is_ordered(self, stage: str) -> bool:
        """Tell whether a first stage ranked its candidates."""
        return self._database.is_ordered(stage)

    def pool(self, stage: str, query: str, size: int | None) -> list[str]:
        """Give the passages of a query that are reranked."""
        return self._pool(stage, self.candidates(stage, query), query, size)

    def mean_pool_size(self, stage: str, size: int | None) -> float:
        """Give how many passages of a query are reranked, on average."""
        return fmean(len(self.pool(stage, query, size)) for query in self.collection.queries)

    def count_unscored(self, model: str) -> int:
        """Count the pairs that a model has yet to score."""
        return sum(len(passages) for _, passages in self._unscored(model))

    def score(self, model: str, score_blocks: ScoreBlocks, on_progress: Callable[[int], object]) -> None:
        """Score every pair that a model has not scored yet; what was scored is kept block by block.

        :param model: What its logits are kept under.
        """
        with closing(score_blocks(self._blocks(model))) as scored:
            for block, logits in scored:
                self._keep(model, block, logits)
                on_progress(len(block.places))

    def rankings(
        self, stage: str, model: str | None, size: int | None, weight: float = 0.0
    ) -> Iterator[dict[str, list[str]]]:
        """Yield the rankings of some queries after the other: of the model over its pool, or of the first stage.

        :param weight: How much the order of the first stage counts in that of the model.
        """
        for queries in in_blocks(self.collection.queries, _QUERIES_READ_AT_ONCE):
            some: dict[str, list[str]] = {}
            for query in queries:
                candidates = self.candidates(stage, query)
                if model is not None:
                    pool = self._pool(stage, candidates, query, size)
                    logits = self.blended_logits(model, query, pool, weight)
                    candidates = reranked(candidates, pool, logits)
                some[query] = candidates
            yield some

    def logits(self, model: str, query: str) -> dict[str, float]:
        """Give the logits of a query's passages."""
        return self._database.logits(model, query)

    def blended_logits(self, model: str, query: str, pool: list[str], weight: float) -> dict[str, float]:
        """Give the logits of the passages in a pool, averaged with its order; see `blended`."""
        known = self._database.logits(model, query)
        return dict(zip(pool, blended([known[one] for one in pool], weight), strict=True))

    def texts(self, passages: list[str]) -> list[str]:
        """Give the texts of passages."""
        return self._database.texts(passages)

    def truncated(self, model: str) -> Counted:
        """Count the pairs that a model scored, and those it read cut."""
        return self._database.count(model)

    def _pool(self, stage: str, candidates: list[str], query: str, size: int | None) -> list[str]:
        pool = pool_of(candidates, size, relevant=self.relevant[query], protocol=self.settings.protocol)
        return self._in_order(stage, pool)

    def _in_order(self, stage: str, passages: list[str]) -> list[str]:
        return passages if self.is_ordered(stage) else neutral_order(passages)

    def _unscored(self, model: str) -> Iterator[tuple[str, list[str]]]:
        for query in self.collection.queries:
            known = self._database.logits(model, query)
            wanted = {
                passage: None
                for stage in self.stages
                for passage in self.pool(stage, query, self.settings.largest_pool)
            }
            if missing := [passage for passage in wanted if passage not in known]:
                yield query, missing

    def _blocks(self, model: str) -> Iterator[Block]:
        block, queries = Block([], []), 0
        for query, passages in self._unscored(model):
            texts = self._database.texts(passages)
            self._keep_blank(
                model, [(query, one) for one, text in zip(passages, texts, strict=True) if not text.strip()]
            )
            for passage, text in zip(passages, texts, strict=True):
                if text.strip():
                    block.places.append((query, passage))
                    block.pairs.append((self.collection.queries[query], text))
            queries += 1
            full = self.settings.checkpoint_every
            if (queries >= full) if full else (len(block.pairs) >= _PAIRS_OF_A_BLOCK):
                yield block
                block, queries = Block([], []), 0
        if block.pairs:
            yield block

    def _keep(self, model: str, block: Block, logits: Logits) -> None:
        cut = set(logits.truncated)
        judged = zip(block.places, logits, strict=True)
        self._database.record(model, (Judged(*place, logit, at in cut) for at, (place, logit) in enumerate(judged)))

    def _keep_blank(self, model: str, places: list[tuple[str, str]]) -> None:
        """Note that passages without text are not read, and come last."""
        if places:
            self._database.record(model, (Judged(*place, BLANK_LOGIT, truncated=False) for place in places))
