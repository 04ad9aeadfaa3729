"""Fields that several dialects have."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BeforeValidator, FailFast, Field

from fr_reranker_plugin.serving.settings import MOST_TEXTS

QUESTION: Final = "Combien de temps pour déclarer une naissance ?"
PASSAGES: Final = ["La mairie ferme à midi.", "Une naissance se déclare dans les cinq jours."]

Query = Annotated[str, Field(description="The question.")]
Texts = Annotated[
    list[str],
    FailFast(),
    Field(max_length=MOST_TEXTS, description="The texts to order; one without text comes last."),
]
RawScores = Annotated[bool, Field(description="Logits instead of scores from 0 to 1.")]

FirstStageWeight = Annotated[
    Annotated[float, Field(ge=0, lt=1)] | None,
    Field(description="How much the order of the first stage counts in the answer; `/index` says the usual one."),
]


def _without_fraction(value: object) -> object:
    """Give 3 for 3.0, which JSON does not tell apart."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE: Final = BeforeValidator(_without_fraction)
"""Stands behind the bounds of a whole number, which the description would lose otherwise."""

Whole = Annotated[int, WHOLE]
TopN = Annotated[
    Annotated[int, Field(ge=1), WHOLE] | None, Field(description="How many to keep at most; all without it.")
]
Index = Annotated[int, Field(ge=0, description="Place of the text in the request, from 0.")]
Score = Annotated[float, Field(description="The sigmoid of the logit: 0 to 1.")]
RawOrScore = Annotated[float, Field(description="0 to 1, or the logit where `raw_scores` was asked for.")]
