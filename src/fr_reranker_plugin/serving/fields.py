"""Fields that several dialects have."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import FailFast, Field

QUESTION: Final = "Combien de temps pour déclarer une naissance ?"
PASSAGES: Final = ["La mairie ferme à midi.", "Une naissance se déclare dans les cinq jours."]

Query = Annotated[str, Field(description="The question.")]
Texts = Annotated[list[str], FailFast(), Field(description="The texts to order; one without text comes last.")]
RawScores = Annotated[bool, Field(description="Logits instead of scores from 0 to 1.")]
TopN = Annotated[int | None, Field(ge=1, description="How many to keep at most; all without it.")]
Index = Annotated[int, Field(ge=0, description="Place of the text in the request, from 0.")]
Score = Annotated[float, Field(description="The sigmoid of the logit: 0 to 1.")]
RawOrScore = Annotated[float, Field(description="0 to 1, or the logit where `raw_scores` was asked for.")]
