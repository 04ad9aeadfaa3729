"""One question before and after reranking, and what that does to all judged questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Final, NamedTuple

from fr_reranker_plugin.collections import Collection
from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.evaluation.ranking_measures import ndcg, reciprocal_rank
from fr_reranker_plugin.scoring.candidates import Scored
from fr_reranker_plugin.scoring.ranking import rank_by_score

_AT: Final = 10


class Question(NamedTuple):
    """A question, with its id in the collection if it is one of its own."""

    text: str
    id: str | None = None


class Candidate(NamedTuple):
    """A passage that the first stage found, with the cosine of its vector and the question's."""

    passage: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage in a ranking, `rank` from 1.

    `score` is a cosine in the first stage and 0..1 after reranking; `grade` is the judgement, `None` where there is
    none; `moved` counts the places it went up.
    """

    rank: int
    passage: str
    title: str
    score: float
    grade: int | None
    moved: int = 0
    logit: float | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same candidates in the order of the first stage, and in that of the reranker."""

    question: Question
    first_stage: list[Hit]
    reranked: list[Hit]

    def as_json(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return {
            "id": self.question.id,
            "question": self.question.text,
            "first_stage": [_json_hit(hit, ("rank", "id", "title", "score", "grade")) for hit in self.first_stage],
            "reranked": [_json_hit(hit) for hit in self.reranked],
        }


class Quality(NamedTuple):
    """Means over judged questions, 0..1."""

    ndcg_at_10: float
    mrr_at_10: float


def choose_questions(
    collection: Collection, *, number: int, ids: Sequence[str], texts: Sequence[str]
) -> list[Question]:
    """Give the questions asked for, or else `number` of the collection's, spread over its themes.

    :raises SettingsError: If an id is not in the collection, or a question is empty.
    """
    known = list(collection.queries)
    unknown = [query_id for query_id in ids if query_id not in collection.queries]
    if unknown:
        raise SettingsError(f"there is no question {unknown[0]!r}; the sample collection has {known[0]} to {known[-1]}")
    if not all(text.strip() for text in texts):
        raise SettingsError("a question must have text, got an empty one")
    if not ids and not texts:
        number = min(number, len(known))
        ids = [known[place * len(known) // number] for place in range(number)]
    return [Question(collection.queries[query_id], query_id) for query_id in ids] + [Question(text) for text in texts]


def compare(
    collection: Collection,
    question: Question,
    candidates: Sequence[Candidate],
    scored: Scored,
    *,
    first_stage_weight: float = 0.0,
) -> Comparison:
    """Rank the candidates of one question by the reranker, beside their order in the first stage."""
    grades = collection.qrels.get(question.id or "", {})

    def hit(rank: int, place: int, score: float, **more: Any) -> Hit:  # noqa: ANN401 -- the fields of `Hit`
        name = candidates[place].passage
        return Hit(rank, name, collection.corpus[name].title, score, grades.get(name), **more)

    first_stage = [hit(place + 1, place, candidate.cosine) for place, candidate in enumerate(candidates)]
    reranked = [
        hit(
            rank,
            ranked.index,
            ranked.score,
            moved=ranked.index + 1 - rank,
            logit=ranked.logit,
            truncated=ranked.index in scored.truncated,
        )
        for rank, ranked in enumerate(rank_by_score(scored.logits, first_stage_weight=first_stage_weight), start=1)
    ]
    return Comparison(question, first_stage, reranked)


def quality(rankings: Mapping[str, Sequence[Hit]], collection: Collection) -> Quality:
    """Measure rankings by query id against the judgements of the collection."""
    ordered = [([hit.passage for hit in hits], collection.qrels[query_id]) for query_id, hits in rankings.items()]
    return Quality(
        ndcg_at_10=fmean(ndcg(ranking, grades, at=_AT) for ranking, grades in ordered),
        mrr_at_10=fmean(reciprocal_rank(ranking, grades, at=_AT) for ranking, grades in ordered),
    )


def by_logit(hits: Sequence[Hit]) -> list[Hit]:
    """Order reranked passages by the cross-encoder alone; equal logits in the order of the first stage."""
    return sorted(hits, key=lambda hit: (-(hit.logit or 0.0), hit.rank + hit.moved))


def _json_hit(hit: Hit, keep: Sequence[str] | None = None) -> dict[str, Any]:
    values = asdict(hit)
    values["id"] = values.pop("passage")
    return {name: values[name] for name in keep or ("rank", "id", *(n for n in values if n not in ("rank", "id")))}
