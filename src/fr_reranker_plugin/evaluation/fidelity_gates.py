"""How far the logits of each arithmetic may be from float32's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fr_reranker_plugin.evaluation.agreement import Agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What must hold for a loader to pass; `None` and `False` ask for nothing.

    :param max_logit: Greatest difference from the reference, in logit.
    :param keeps_order: No two passages of a question whose reference scores differ by more than 0.02 change places.
    :param lost_points: Most points (0..100) that nDCG@10 and RR@10 may lose on the judged questions.
    """

    max_logit: float | None = None
    keeps_order: bool = False
    lost_points: float | None = None

    def is_met(self, found: Agreement, lost: Mapping[str, float]) -> bool:
        """Tell whether it holds; a difference that is not a number does not.

        :param found: The differences from the reference.
        :param lost: Points lost, by measure.
        """
        near = self.max_logit is None or found.max <= self.max_logit
        ordered = not self.keeps_order or found.inversions == 0
        ranked = self.lost_points is None or all(points <= self.lost_points for points in lost.values())
        return near and ordered and ranked

    def __str__(self) -> str:
        parts = []
        if self.max_logit is not None:
            parts.append(f"logit ≤ {self.max_logit:.0e}".replace("e-0", "e-"))
        if self.keeps_order:
            parts.append("inversions 0")
        if self.lost_points is not None:
            parts.append(f"lost ≤ {self.lost_points:g}")
        return ", ".join(parts)


GATES: Final[Mapping[str, Gate]] = {
    "float32": Gate(max_logit=1e-4),
    "float16": Gate(max_logit=1e-2, keeps_order=True),
    "bfloat16": Gate(max_logit=5e-2),
    "int8": Gate(lost_points=0.5),
}
"""By dtype: float32 must give the same logits, float16 the same order, int8 as good a ranking."""
