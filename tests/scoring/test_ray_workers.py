"""How copies of a model are laid out over a cluster, and what becomes of a row that cannot be scored."""

import asyncio
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines import FailsOn
from fr_reranker_plugin import BatchSettings, ModelSettings, ScoringError, SettingsError
from fr_reranker_plugin.scoring.batching import BatchingScorer
from fr_reranker_plugin.scoring.loading import resolve_settings
from fr_reranker_plugin.scoring.ray_workers import RayCluster, Room, cpus_per_worker, room_for, worker_settings
from fr_reranker_plugin.scoring.row_scoring import score_rows
from fr_reranker_plugin.scoring.scorer import Logits

ON_GPU = ModelSettings(model="embedded")
ON_CPU = ModelSettings(model="embedded", device="cpu")


@given(st.lists(st.integers(0, 64), max_size=6), st.integers(1, 40))
def test_as_many_cpus_as_leave_room_for_every_worker(nodes: list[int], workers: int) -> None:
    def room(size: int) -> int:
        return sum(cpus // size for cpus in nodes)

    size = cpus_per_worker(nodes, workers)
    assert size == 0 or room(size) >= workers
    assert room(size + 1) < workers


def test_a_worker_computes_in_the_dtype_that_its_logits_are_kept_under() -> None:
    here = ModelSettings(model="embedded")
    there = worker_settings(here, on_gpus=True)
    assert (there.device, there.dtype) == ("cuda", resolve_settings(here).dtype)
    assert worker_settings(here, on_gpus=False).device is None


def test_a_cluster_has_workers() -> None:
    with pytest.raises(SettingsError, match="workers must be >= 1"):
        RayCluster(workers=0)


@pytest.mark.parametrize(
    ("model", "nodes", "copies", "expected"),
    [
        (ON_GPU, [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 4.0}], None, Room(2, gpus=1, cpus=0)),
        (ON_GPU, [{"CPU": 8.0, "GPU": 2.0}], 1, Room(1, gpus=1, cpus=0)),
        (ON_CPU, [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 4.0}], None, Room(2, gpus=0, cpus=4)),
        (ON_GPU, [{"CPU": 3.0}, {"CPU": 1.0}, {}], 3, Room(3, gpus=0, cpus=1)),
    ],
)
def test_each_copy_of_a_model_gets_a_gpu_or_its_share_of_the_cpus(model, nodes, copies, expected) -> None:
    assert room_for(model, nodes, copies) == expected


@pytest.mark.parametrize(
    ("nodes", "copies", "reason"),
    [
        ([{"CPU": 1.0, "GPU": 1.0}], 2, "1 GPUs.*workers=2"),
        ([{"CPU": 2.0}], 3, "2 CPUs.*workers=3"),
        ([], None, "0 CPU"),
    ],
)
def test_more_copies_than_there_is_room_for_are_refused(nodes, copies, reason) -> None:
    with pytest.raises(SettingsError, match=reason):
        room_for(ON_GPU, nodes, copies)


@given(st.lists(st.lists(st.sampled_from(["a", "bb", "…", "ccc…"]), max_size=4), max_size=5))
def test_rows_scored_together_get_the_logits_they_get_alone(rows: list[list[str]]) -> None:
    pairs = [[("q", text) for text in row] for row in rows]
    with BatchingScorer([FailsOn("poison")], BatchSettings()) as scorer:
        together = asyncio.run(score_rows(scorer, pairs))
    assert together == [[float(len(text)) for text in row] for row in rows]
    assert [found.truncated for found in together] == [
        tuple(place for place, text in enumerate(row) if text.endswith("…")) for row in rows
    ]


def test_a_row_that_the_model_fails_on_takes_no_other_row_with_it() -> None:
    with BatchingScorer([FailsOn("poison")], BatchSettings()) as scorer:
        good, bad, last = asyncio.run(
            score_rows(scorer, [[("q", "aa")], [("q", "b"), ("q", "un poison")], [("q", "c")]])
        )
    assert (good, last) == ([2.0], [1.0])
    assert isinstance(bad, ScoringError)
    assert "poison" in str(bad)


def test_logits_travel_between_processes_with_what_was_cut() -> None:
    travelled = pickle.loads(pickle.dumps(Logits([1.0, 2.0], truncated=[1], tokens=7)))  # noqa: S301 -- our own
    assert (travelled, travelled.truncated, travelled.tokens) == ([1.0, 2.0], (1,), 7)
