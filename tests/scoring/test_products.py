"""The matrix products of the forward pass, each beside the same product in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin.scoring.forward.batch import rounded_up
from fr_reranker_plugin.scoring.forward.encoder_weights import Affine
from fr_reranker_plugin.scoring.forward.linear import OneDnnLinear, Scratch
from fr_reranker_plugin.scoring.forward.rounding import MIDDLE, Rounding, fit_rounding, round_weight
from fr_reranker_plugin.scoring.scorer import EncodedPair

needs_onednn = pytest.mark.skipif(not OneDnnLinear.is_available(), reason="needs a CPU with AVX2 and torch with oneDNN")


def affine(outputs: int, inputs: int) -> Affine:
    torch.manual_seed(0)
    return Affine(torch.randn(outputs, inputs) / inputs**0.5, torch.randn(outputs))


def exact(rows: torch.Tensor, of: Affine) -> torch.Tensor:
    return rows.double() @ of.weight.double().T + of.bias.double()


def read_back(rounding: Rounding, rows: torch.Tensor) -> torch.Tensor:
    """Undo `rounded`: the columns of a channel added up, in its own unit."""
    steps = rounding.rounded(rows, Scratch()).float() - MIDDLE
    width = rows.shape[1]
    values = steps[:, :width].clone().index_add_(1, rounding.copied, steps[:, width:])
    return values * rounding.scale * rounding.smooth


@needs_onednn
@pytest.mark.parametrize("count", [1, 7, 300])
@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_the_float32_product_is_exact_and_applies_gelu(count, activation):
    torch.manual_seed(count)
    rows, of = torch.randn(count, 96), affine(33, 96)
    expected = exact(rows, of)
    expected = torch.nn.functional.gelu(expected) if activation == "gelu" else expected
    torch.testing.assert_close(OneDnnLinear(of, activation)(rows).double(), expected, atol=1e-5, rtol=0)


@given(st.lists(st.floats(0.01, 1000.0), min_size=48, max_size=48), st.integers(0, 2**32 - 1))
def test_rounding_moves_a_number_by_half_a_step_at_most(limits, seed):
    ranges = torch.tensor(limits)
    torch.manual_seed(seed)
    rounding = fit_rounding(torch.randn(8, 48), ranges)
    rows = (torch.rand(16, 48) * 2 - 1) * ranges
    steps = (read_back(rounding, rows) - rows).abs() / (rounding.scale * rounding.smooth)
    assert steps.max() <= 0.5 + 1e-3


def test_what_is_beyond_the_range_is_cut_and_does_not_wrap_around():
    limits = torch.full((48,), 2.0)
    rounding = fit_rounding(torch.randn(8, 48), limits)
    for far in (50.0, -50.0):
        steps = rounding.rounded(torch.full((1, 48), far), Scratch())
        assert set(steps.flatten().tolist()) == {255 if far > 0 else 0}


def test_channels_that_are_far_larger_do_not_coarsen_the_others():
    torch.manual_seed(0)
    rows, weight = torch.randn(64, 480), torch.randn(32, 480) / 22
    rows[:, :5] *= 40
    limits = rows.abs().amax(dim=0)
    rounding = fit_rounding(weight, limits)
    integers, scales = round_weight(rounding.spread(weight))
    found = (rounding.rounded(rows, Scratch()).float() - MIDDLE) @ (integers * scales[:, None]).T * rounding.scale
    one_step_for_all = (rows / limits.max() * 127).round() * limits.max() / 127
    error, plain_error = ((product - rows @ weight.T).std() for product in (found, one_step_for_all @ weight.T))
    assert error < plain_error / 5


@given(st.lists(st.integers(1, 512), min_size=1, max_size=60))
def test_batches_on_a_cpu_have_few_sizes_and_keep_their_pairs_in_front(lengths):
    pairs = [EncodedPair([7] * length, [0] * length, truncated=False) for length in lengths]
    rounded = rounded_up(pairs, torch.device("cpu"))
    tokens = sum(len(pair.token_ids) for pair in rounded)
    assert rounded[: len(pairs)] == pairs
    assert tokens % 16 == 0
    assert 0 < tokens - sum(lengths) <= 40
    assert len(pairs) < 8 or len(rounded) % 8 == 0
    assert rounded_up(pairs, torch.device("cuda")) == pairs
