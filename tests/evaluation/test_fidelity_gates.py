"""Each gate lets through what its arithmetic may differ by, and no more."""

import math

import pytest

from fr_reranker_plugin.evaluation.agreement import Agreement
from fr_reranker_plugin.evaluation.fidelity_gates import GATES


def differences(largest: float, inversions: int = 0) -> Agreement:
    return Agreement(
        pairs=9, max=largest, p99=0.0, mean=0.0, score_max=0.0, kendall_tau=1.0, inversions=inversions
    )  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "largest", "inversions", "lost", "met"),
    [
        ("float32", 1e-4, 0, 0.0, True),
        ("float32", 1.1e-4, 0, 0.0, False),
        ("float16", 1e-2, 0, 0.0, True),
        ("float16", 1.1e-2, 0, 0.0, False),
        ("float16", 1e-3, 1, 0.0, False),
        ("bfloat16", 5e-2, 3, 9.0, True),
        ("bfloat16", 5.1e-2, 0, 0.0, False),
        ("int8", 9.0, 3, 0.5, True),
        ("int8", 0.0, 0, 0.6, False),
        ("int8", 9.0, 3, -4.0, True),
    ],
)
def test_a_gate_is_met_up_to_its_bound(dtype: str, largest: float, inversions: int, lost: float, met: bool) -> None:
    assert GATES[dtype].is_met(differences(largest, inversions), {"nDCG@10": 0.0, "RR@10": lost}) is met


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_is_not_a_number_meets_no_gate(dtype: str) -> None:
    assert not GATES[dtype].is_met(differences(math.nan), {})


def test_a_gate_says_what_it_asks_for() -> None:
    assert [str(GATES[dtype]) for dtype in ("float32", "float16", "bfloat16", "int8")] == [
        "logit ≤ 1e-4", "logit ≤ 1e-2, inversions 0", "logit ≤ 5e-2", "lost ≤ 0.5",
    ]  # fmt: skip
