"""What the demo does between reading its arguments and printing: encode, search, rerank, measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, NamedTuple, Self

import numpy as np

from fr_reranker_plugin.cli.comparison import Candidate, Comparison, Question, by_logit, compare, quality
from fr_reranker_plugin.cli.model_options import ModelOptions
from fr_reranker_plugin.cli.scoring import in_parts, opened_scorer, score_candidates, silence_libraries
from fr_reranker_plugin.collections import Collection
from fr_reranker_plugin.retrieval.exact_search import top_passages
from fr_reranker_plugin.retrieval.text_encoder import TextEncoder
from fr_reranker_plugin.retrieval.vectors import Vectors
from fr_reranker_plugin.scoring.candidates import Candidates
from fr_reranker_plugin.scoring.scorer import Scorer


@dataclass
class Stopwatch:
    """Seconds and questions by phase."""

    spent: dict[str, float] = field(default_factory=dict)
    questions: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str, questions: int = 1) -> Iterator[None]:
        """Add the seconds spent inside, and the questions they were spent on."""
        start = perf_counter()
        yield
        self.spent[name] = self.spent.get(name, 0.0) + perf_counter() - start
        self.questions[name] = self.questions.get(name, 0) + questions

    def each(self, name: str) -> float:
        """Give the seconds that one question took in a phase."""
        return self.spent[name] / max(1, self.questions[name])


class Stages(NamedTuple):
    """How the two stages work together.

    `first_stage` names the bi-encoder, `candidates` is how many passages it hands on, and `weight` how much their order
    counts in the end.
    """

    first_stage: str
    candidates: int
    weight: float


class DemoRun:
    """Both models and the vectors of all passages, ready for questions.

    :param vectors: Of the passages of `collection`, in its order.
    """

    def __init__(  # noqa: PLR0913 -- the parts of a two-stage search
        self,
        collection: Collection,
        encoder: TextEncoder,
        vectors: Vectors,
        scorer: Scorer,
        *,
        stages: Stages,
        models: dict[str, str],
        watch: Stopwatch,
    ) -> None:
        self._collection = collection
        self._passages = list(collection.corpus)
        self._encoder = encoder
        self._vectors = vectors
        self._scorer = scorer
        self._stages = stages
        self._watch = watch
        self._models = models

    @classmethod
    @contextmanager
    def started(cls, collection: Collection, options: ModelOptions, stages: Stages) -> Iterator[Self]:
        """Load both models and encode all passages; the cross-encoder is closed afterwards."""
        silence_libraries()
        watch = Stopwatch()
        settings = replace(options.model_settings(), model=stages.first_stage, revision=None, max_length=None)
        with watch.phase("load"):
            encoder = TextEncoder.load(settings, max_batch_tokens=options.max_batch_tokens)
        texts = [passage.full_text for passage in collection.corpus.values()]
        with watch.phase("encode_passages"):
            vectors = np.concatenate(list(in_parts(encoder.encode_passages, texts, label="encoding the passages")))
        start = perf_counter()
        with opened_scorer(options) as scorer:
            watch.spent["load"] += perf_counter() - start
            models = {"first_stage": stages.first_stage, "cross_encoder": options.model}
            yield cls(collection, encoder, vectors, scorer, stages=stages, models=models, watch=watch)

    def compare(self, questions: Sequence[Question], *, label: str) -> list[Comparison]:
        """Search and rerank each question."""
        with self._watch.phase("first_stage", len(questions)):
            found = self._search([question.text for question in questions])
        groups = [
            Candidates.from_passages(question.text, [self._collection.corpus[one.passage].full_text for one in top])
            for question, top in zip(questions, found, strict=True)
        ]
        with self._watch.phase("rerank", len(questions)):
            scored = score_candidates(self._scorer, groups, label=label)
        return [
            compare(self._collection, question, top, one, first_stage_weight=self._stages.weight)
            for question, top, one in zip(questions, found, scored, strict=True)
        ]

    def measure(self, known: Sequence[Comparison]) -> dict[str, Any]:
        """Measure both rankings over all judged questions, reranking those that are not in `known`."""
        done = {comparison.question.id for comparison in known}
        rest = [Question(text, query_id) for query_id, text in self._collection.queries.items() if query_id not in done]
        others = self.compare(rest, label=f"measuring {len(rest)} more questions")
        judged = {one.question.id: one for one in [*known, *others] if one.question.id is not None}
        rankings = {
            "first_stage": {name: one.first_stage for name, one in judged.items()},
            "cross_encoder": {name: by_logit(one.reranked) for name, one in judged.items()},
            "reranked": {name: one.reranked for name, one in judged.items()},
        }
        measures = {stage: quality(ranked, self._collection)._asdict() for stage, ranked in rankings.items()}
        return {"questions": len(judged), "first_stage_weight": self._stages.weight, **measures}

    def report(self, comparisons: Sequence[Comparison], measured: dict[str, Any] | None) -> dict[str, Any]:
        """Give everything that was found as plain values for JSON."""
        return {
            "models": self._models,
            "questions": [comparison.as_json() for comparison in comparisons],
            "summary": measured,
            "seconds": self._seconds(),
        }

    def _seconds(self) -> dict[str, float]:
        """Give the seconds of loading and encoding, and of the two stages for one question."""
        return {
            "load_models": self._watch.spent["load"],
            "encode_passages": self._watch.spent["encode_passages"],
            "first_stage_per_question": self._watch.each("first_stage"),
            "rerank_per_question": self._watch.each("rerank"),
        }

    def _search(self, questions: Sequence[str]) -> list[list[Candidate]]:
        if not questions:
            return []
        scores, places = top_passages(self._encoder.encode_queries(questions), self._vectors, self._stages.candidates)
        return [
            [Candidate(self._passages[place], float(score)) for score, place in zip(row, best, strict=True)]
            for row, best in zip(scores, places, strict=True)
        ]
