"""A GPU is searched in place of the CPU, finds the same, and leaves what is saved alone."""

from collections.abc import Iterator
from contextlib import nullcontext

import faiss
import pytest

from fr_reranker_plugin import DenseIndex, GpuMemoryError, IndexSettings, SettingsError
from fr_reranker_plugin.retrieval.gpu_copy import GpuCopy
from fr_reranker_plugin.retrieval.index_settings import SearchDevice
from unit_vectors import clustered_vectors, documents

DIMENSION = 16
COUNT = 3000
SETTINGS = {
    "flat": IndexSettings(dimension=DIMENSION),
    "ivf": IndexSettings(dimension=DIMENSION, kind="ivf", ivf_lists=16, ivf_probes=16),
}


class Resources:
    def setTempMemory(self, size: int) -> None:  # noqa: N802 -- FAISS's name
        assert size <= 1 << 30


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """What FAISS offers with a GPU, with the copy on the CPU; counts the queries that the copies answer."""
    answered: list[int] = []
    real_search = GpuCopy.search

    def counted(self, queries, count, selection):
        answered.append(len(queries))
        return real_search(self, queries, count, selection)

    monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", lambda _, __, index: faiss.clone_index(index), raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(GpuCopy, "search", counted)
    return answered


def no_room(*_: object) -> None:
    raise RuntimeError("cudaMalloc error out of memory")


def test_a_gpu_without_room_for_an_index_is_an_error_if_asked_for_and_the_cpu_otherwise(
    stand_in: list[int], tmp_path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = clustered_vectors(10, DIMENSION, clusters=2)
    with DenseIndex.create(tmp_path / "index", settings=SETTINGS["flat"], device="cpu") as index:
        index.add(documents(10), vectors)
        index.save()
        expected = index.search(vectors, 3)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", no_room)
    with DenseIndex.open(tmp_path / "index") as opened:
        assert opened.search(vectors, 3) == expected
    assert "searched on the CPU" in caplog.text
    with pytest.raises(GpuMemoryError, match="cudaMalloc error out of memory"):
        DenseIndex.open(tmp_path / "index", device="cuda")
    assert stand_in == []


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_gpu_that_fills_up_leaves_what_was_added_to_the_cpu(
    device: SearchDevice, stand_in: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = clustered_vectors(COUNT, DIMENSION, clusters=50)
    with (
        DenseIndex.create(settings=SETTINGS["flat"], device=device) as index,
        DenseIndex.create(settings=SETTINGS["flat"], device="cpu") as on_cpu,
    ):
        index.add(documents(2000), vectors[:2000])
        with monkeypatch.context() as full:
            full.setattr(GpuCopy, "add", no_room)
            with pytest.raises(GpuMemoryError, match="device='cpu'") if device == "cuda" else nullcontext():
                index.add(documents(900, 2000), vectors[2000:2900])
        index.upsert(documents(1000, 2000), vectors[2000:])
        on_cpu.add(documents(COUNT), vectors)
        assert index.search(vectors[::100], 5) == on_cpu.search(vectors[::100], 5)
    assert stand_in == [], "a copy that lacks vectors is not asked"


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_the_copy_finds_what_the_cpu_finds_also_after_changes(kind: str, stand_in: list[int], tmp_path) -> None:
    vectors = clustered_vectors(COUNT, DIMENSION, clusters=50)
    queries = clustered_vectors(20, DIMENSION, clusters=50, seed=5)
    with (
        DenseIndex.create(settings=SETTINGS[kind], device="cuda") as on_gpu,
        DenseIndex.create(settings=SETTINGS[kind], device="cpu") as on_cpu,
    ):
        for index in (on_gpu, on_cpu):
            index.add(documents(2000), vectors[:2000])
        assert on_gpu.search(queries, 10) == on_cpu.search(queries, 10)
        for index in (on_gpu, on_cpu):
            index.add(documents(1000, 2000), vectors[2000:])
            index.delete([f"d{place}" for place in range(0, COUNT, 5)])
        answered = sum(stand_in)
        assert on_gpu.search(queries, 10) == on_cpu.search(queries, 10)
        assert sum(stand_in) > answered >= len(queries), "the copy was asked before and after the changes"
        few = {"field": "meta.number", "operator": "<", "value": 1500}
        assert on_gpu.search(queries, 10, filters=few) == on_cpu.search(queries, 10, filters=few)
        assert on_gpu.search(queries, 2900) == on_cpu.search(queries, 2900)
        on_gpu.save(tmp_path / "index")
        with DenseIndex.open(tmp_path / "index", device="cpu") as opened:
            assert opened.search(queries, 10) == on_cpu.search(queries, 10)
        with DenseIndex.open(tmp_path / "index") as opened:
            assert opened.search(queries, 10) == on_cpu.search(queries, 10)


def test_a_kind_without_a_form_on_the_gpu_is_refused_if_asked_for_and_searched_on_the_cpu_otherwise(stand_in) -> None:
    settings = IndexSettings(dimension=DIMENSION, kind="hnsw")
    with pytest.raises(SettingsError, match="the kind 'hnsw' is searched on the CPU only"):
        DenseIndex.create(settings=settings, device="cuda")
    with DenseIndex.create(settings=settings) as index:
        index.add(documents(10), clustered_vectors(10, DIMENSION, clusters=2))
        assert len(index.search(clustered_vectors(1, DIMENSION, clusters=2), 3)[0]) == 3
    assert stand_in == []


@pytest.mark.skipif(faiss.get_num_gpus() > 0, reason="there is a GPU here")
def test_without_a_gpu_asking_for_one_is_an_error_and_auto_is_the_cpu(tmp_path) -> None:
    settings = IndexSettings(dimension=DIMENSION)
    with pytest.raises(SettingsError, match="device='cuda' needs an NVIDIA GPU"):
        DenseIndex.create(tmp_path / "index", settings=settings, device="cuda")
    DenseIndex.create(tmp_path / "index", settings=settings, device="auto").close()
    with pytest.raises(SettingsError, match="device='cuda' needs an NVIDIA GPU"):
        DenseIndex.open(tmp_path / "index", device="cuda")
    with pytest.raises(SettingsError, match="device must be one of 'auto', 'cpu', 'cuda', got 'tpu'"):
        DenseIndex.open(tmp_path / "index", device="tpu")  # type: ignore[arg-type]
    DenseIndex.open(tmp_path / "index").close()


@pytest.mark.gpu
@pytest.mark.skipif(faiss.get_num_gpus() == 0, reason="FAISS sees no GPU")
def test_a_real_gpu_finds_what_the_cpu_finds() -> None:
    vectors = clustered_vectors(COUNT, DIMENSION, clusters=50)
    queries = clustered_vectors(20, DIMENSION, clusters=50, seed=5)
    found = []
    for device in ("cpu", "cuda"):
        with DenseIndex.create(settings=SETTINGS["flat"], device=device) as index:
            index.add(documents(COUNT), vectors)
            found.append([[hit.document.id for hit in hits] for hits in index.search(queries, 10)])
    assert found[0] == found[1]
