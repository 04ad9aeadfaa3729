"""Batches written into fixed shapes give the logits of the batches; recording itself needs a GPU."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForSequenceClassification

from checkpoints import build_cross_encoder
from fr_reranker_plugin import CrossEncoder, ModelSettings
from fr_reranker_plugin.scoring.forward import graphs
from fr_reranker_plugin.scoring.forward.attention import Layout, attend_variable_length
from fr_reranker_plugin.scoring.forward.batch import Numbering, PackedBatch
from fr_reranker_plugin.scoring.forward.encoder import PackedForward
from fr_reranker_plugin.scoring.forward.encoder_weights import read_weights
from fr_reranker_plugin.scoring.forward.graphs import GraphedForward, Shape, shapes, with_graphs
from fr_reranker_plugin.scoring.forward.products import assemble, float_products
from fr_reranker_plugin.scoring.scorer import EncodedPair

CPU = torch.device("cpu")
SIZES = [Shape(32, 4, 16), Shape(64, 8, 16)]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[PackedForward, Numbering]:
    folder = build_cross_encoder(tmp_path_factory.mktemp("model"), request.param)
    weights = read_weights(AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32))
    tables = weights.embeddings
    numbering = Numbering(tables.first_position, tables.skipped, has_types=request.param == "bert")
    return assemble(weights, float_products("cpu", "float32"), attend_by_bounds), numbering


def attend_by_bounds(queries: Tensor, keys: Tensor, values: Tensor, of_queries: Layout, of_keys: Layout) -> Tensor:
    """Attend sequence by sequence: like the packed kernel, it reads where they lie from the bounds alone."""
    context = torch.zeros_like(queries)
    ends = zip(of_queries.bounds.tolist(), of_keys.bounds.tolist(), strict=True)
    for (asked, read), (asked_to, read_to) in pairwise(ends):
        q, k, v = (rows.transpose(0, 1) for rows in (queries[asked:asked_to], keys[read:read_to], values[read:read_to]))
        context[asked:asked_to] = scaled_dot_product_attention(q, k, v).transpose(0, 1)
    return context


class Memory:
    """Repeats a computation by computing again, and counts how often; the memory is the same, as with a graph."""

    def __init__(self) -> None:
        self.repeats = 0

    def __call__(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        found = run()

        def repeat() -> Tensor:
            self.repeats += 1
            return found.copy_(run())

        return repeat


def batch_of(lengths: list[int], numbering: Numbering, *, seed: int = 0) -> PackedBatch:
    drawn = torch.Generator().manual_seed(seed)
    pairs = []
    for length in lengths:
        token_ids = torch.randint(5, 50, (length,), generator=drawn).tolist()
        pairs.append(EncodedPair(token_ids, [0] * (length // 2) + [1] * (length - length // 2), truncated=False))
    return PackedBatch.of(pairs, numbering, CPU)


@torch.inference_mode()
def test_a_batch_in_a_fixed_shape_has_its_own_logits_whatever_was_there_before(model):
    forward, numbering = model
    memory = Memory()
    graphed = GraphedForward(forward, SIZES, memory, CPU, has_types=numbering.has_types)
    for seed, lengths in enumerate([[16, 16, 16], [3], [5, 7, 2], [16, 16], [1, 1, 1, 1], [16] * 4]):
        batch = batch_of(lengths, numbering, seed=seed)
        torch.testing.assert_close(graphed(batch), forward(batch), atol=1e-5, rtol=0)
    assert memory.repeats == 6


@torch.inference_mode()
@pytest.mark.parametrize("lengths", [[17], [16] * 5, [1] * 9], ids=["too long", "too much", "too many"])
def test_what_fits_no_shape_is_computed_as_ever(model, lengths):
    forward, numbering = model
    memory = Memory()
    graphed = GraphedForward(forward, SIZES, memory, CPU, has_types=numbering.has_types)
    batch = batch_of(lengths, numbering)
    assert torch.equal(graphed(batch), forward(batch))
    assert memory.repeats == 0


def test_two_models_are_never_recorded_at_once(model):
    forward, numbering = model
    both = threading.Barrier(2)
    met = []

    def record(run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        with suppress(threading.BrokenBarrierError):
            met.append(both.wait(timeout=0.2))
        return run

    def load(_: int) -> None:
        with torch.inference_mode():
            GraphedForward(forward, SIZES, record, CPU, has_types=numbering.has_types)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(load, range(2)))
    assert met == []


@torch.inference_mode()
def test_the_logits_that_are_given_stay_when_the_next_batch_comes(model):
    forward, numbering = model
    graphed = GraphedForward(forward, SIZES, Memory(), CPU, has_types=numbering.has_types)
    first = graphed(batch_of([9, 4], numbering, seed=1))
    kept = first.clone()
    graphed(batch_of([5, 16], numbering, seed=2))
    assert torch.equal(first, kept)


@given(st.lists(st.integers(1, 512), min_size=1, max_size=200), st.sampled_from(shapes(512)))
def test_a_shape_is_filled_to_the_last_row(lengths, shape):
    filled = shape.lengths(lengths)
    if filled is None:
        filling = -(-max(0, shape.tokens - sum(lengths)) // shape.longest)
        too_many = len(lengths) + filling > shape.sequences
        assert sum(lengths) > shape.tokens or max(lengths) > shape.longest or too_many
    else:
        assert filled[: len(lengths)] == lengths
        assert (len(filled), sum(filled)) == (shape.sequences, shape.tokens)
        assert max(filled) <= shape.longest


def test_requests_of_twenty_passages_fit():
    assert any(shape.lengths([90] * 20) for shape in shapes(512))
    assert any(shape.lengths([24] * 20) for shape in shapes(512))


def test_without_a_gpu_nothing_is_recorded(model):
    forward, _ = model
    assert with_graphs(forward, CPU, longest=512, has_types=False) is forward


def test_a_recording_that_fails_gives_its_memory_back(monkeypatch):
    held = []
    was_free = []

    def fail(*_: object, **__: object) -> None:
        tensor = torch.zeros(8)
        held.append(weakref.ref(tensor))
        raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(graphs, "GraphedForward", fail)
    monkeypatch.setattr(graphs, "cuda_recorder", lambda: None)
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: was_free.append(held[0]() is None))
    forward = SimpleNamespace(attention=attend_variable_length)
    assert with_graphs(forward, torch.device("cuda:0"), longest=512, has_types=False) is forward
    assert was_free == [True]


@needs_cuda
def test_recorded_graphs_give_what_a_cpu_gives():
    exact = CrossEncoder.load(ModelSettings(model="embedded", device="cpu"))
    on_gpu = CrossEncoder.load(ModelSettings(model="embedded", device="cuda"))
    assert isinstance(on_gpu._forward, GraphedForward)
    pairs = [("Où voter ?", "À la mairie. " * times) for times in (1, 3, 9, 27, 81)]
    for count in range(1, len(pairs) + 1):
        expected = exact.launch(exact.encode(pairs[:count]))()
        assert on_gpu.launch(on_gpu.encode(pairs[:count]))() == pytest.approx(expected, abs=0.05)
