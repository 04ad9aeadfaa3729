"""A fixed set of French pairs on which loaders of a model are compared: usual ones, and those that break things."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from fr_reranker_plugin.collections import Collection, load_collection, sample_folder
from fr_reranker_plugin.evaluation.ranking_measures import ndcg, reciprocal_rank
from fr_reranker_plugin.scoring.scorer import Pair

_QUESTIONS: Final = 20
_PASSAGES_OF_A_LONG_TEXT: Final = 6
_AT: Final = 10

_PRICES: Final = (
    "Un passeport coûte 86 € à un adulte, 42 € de 15 à 17 ans et 17 € avant ; la démarche dure 2 à 6 semaines."
)

_ODD_PAIRS: Final[Sequence[tuple[str, Sequence[str]]]] = (
    (
        "Où déposer une plainte ?",
        ("Au commissariat.", "Où déposer une plainte ?", "Une plainte du vent.", "plainte", ".", " "),
    ),
    (
        "L’œuvre d’un cœur généreux, qu’est-ce que c’est ?",
        (
            "Les œuvres sociales de la commune aident les familles ; le nœud du dispositif est l’aide aux aînés.",
            "Les oeuvres sociales de la commune aident les familles ; le noeud du dispositif est l'aide aux aînés.",
            "ÆGYPTUS, œil-de-bœuf, Œuf, fœtus, curriculum vitæ, haïr, ambiguë, Noël, forêt, où, ça, île.",
        ),
    ),
    (
        "COMBIEN COUTE UN PASSEPORT ?",
        (
            _PRICES,
            unicodedata.normalize("NFD", "Délivré à un élève majeur, il est valable dix années ; à un mineur, cinq."),
            _PRICES.upper(),
            "Timbre\u00a0fiscal\u202f: 86\u202f€\u00a0; n°\u00a012\u00ad345, art.\u00a0L.\u202f312-1, 1\u202f234,50.",
        ),
    ),
    (
        "Ça ouvre quand, la mairie ? 🙂",
        (
            "De 9 h à 12 h 🕘 — sauf le 14 juillet 🇫🇷 (👩🏽‍🚀 s’abstenir) « merci » …",
            "| jour | heures |\n|---|---|\n| lundi | 9 h – 17 h |\r\n\r\n\t- mardi : fermé\n1) mercredi",
            "https://www.exemple.fr/horaires?id=42&v=%C3%A9t%C3%A9#lundi — accueil@exemple.fr, 01 23 45 67 89",
            "<s> </s> [SEP] [CLS] <pad> <mask> \u200b\ufeff",
        ),
    ),
    ("né", ("né", "Né à Nîmes.", "naissance " * 200, "anticonstitutionnellement" * 40)),
    ("?", ("!", "Une réponse.")),
)
"""Questions, each with passages that tokenizers and padding get wrong most easily."""


class FrenchPair(NamedTuple):
    """A question and a passage; `grade` is the judgement of the passage, `None` where there is none."""

    query: str
    passage: str
    grade: int | None = None


def french_pairs() -> list[FrenchPair]:
    """Give the pairs, those of one question together: some 90, of 3 to more than 512 tokens.

    The judged ones are of the sample collection. Its questions on which int8 finds its ranges are left out.
    """
    collection = load_collection(sample_folder())
    return [*_judged_pairs(collection), *_odd_pairs(), *_long_pairs(collection)]


def ranking_quality(pairs: Sequence[FrenchPair], logits: Sequence[float]) -> dict[str, float]:
    """Give the means of nDCG@10 and RR@10 over the judged questions, in percent, of the ranking by `logits`.

    :param pairs: Those of one question together.
    :param logits: One for each pair.
    """
    gains, ranks = [], []
    judged = [(pair, logit) for pair, logit in zip(pairs, logits, strict=True) if pair.grade is not None]
    for _, group in groupby(judged, key=lambda one: one[0].query):
        ranked = [pair for pair, _ in sorted(group, key=itemgetter(1), reverse=True)]
        grades = {pair.passage: pair.grade or 0 for pair in ranked}
        gains.append(ndcg(list(grades), grades, at=_AT))
        ranks.append(reciprocal_rank(list(grades), grades, at=_AT))
    count = max(len(gains), 1)
    return {f"nDCG@{_AT}": 100 * sum(gains) / count, f"RR@{_AT}": 100 * sum(ranks) / count}


def _judged_pairs(collection: Collection) -> Iterator[FrenchPair]:
    """Yield questions with the passage that answers best, the nearest miss, and one by chance."""
    from fr_reranker_plugin.scoring.forward.precision import calibration_pairs

    known = {query for query, _ in calibration_pairs()}
    fresh = [name for name, text in collection.queries.items() if text not in known]
    names = list(collection.corpus)
    for number in range(_QUESTIONS):
        query = fresh[number * len(fresh) // _QUESTIONS]
        grades = collection.qrels[query]
        best = max(grades, key=grades.__getitem__)
        miss = min(grades, key=grades.__getitem__)
        chance = next(name for name in names[number * 13 :] if name not in grades)
        for name in (best, miss, chance):
            yield FrenchPair(collection.queries[query], collection.corpus[name].full_text, grades.get(name, 0))


def _odd_pairs() -> Iterator[FrenchPair]:
    for query, passages in _ODD_PAIRS:
        for passage in passages:
            yield FrenchPair(query, passage)


def _long_pairs(collection: Collection) -> Iterator[FrenchPair]:
    """Yield pairs that are cut: the passage, the question, and both, each far above 512 tokens."""
    passages = [passage.full_text for passage in collection.corpus.values()]
    questions = list(collection.queries.values())
    long_passage = "\n".join(passages[:_PASSAGES_OF_A_LONG_TEXT])
    long_question = " ".join(questions[:30])
    yield FrenchPair(questions[0], long_passage)
    yield FrenchPair(questions[0], "\n".join(passages[_PASSAGES_OF_A_LONG_TEXT : 2 * _PASSAGES_OF_A_LONG_TEXT]))
    yield FrenchPair(long_question, passages[0])
    yield FrenchPair(long_question, long_passage)


def plain_pairs(pairs: Sequence[FrenchPair]) -> list[Pair]:
    """Give questions and passages alone, as a scorer takes them."""
    return [(pair.query, pair.passage) for pair in pairs]
