"""A writer that is killed, at whatever moment, leaves the index as it was saved last or as it was being saved."""

import multiprocessing
import random
from pathlib import Path

import pytest

from fr_reranker_plugin import DenseIndex, IndexSettings
from index_writer import DIMENSION, step_of, write_until_killed

pytestmark = pytest.mark.slow

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["faiss", "fr_reranker_plugin.retrieval.dense_index"])


def kill_a_writer(folder: Path, settings: IndexSettings, saves: Path, *, after: float, started: bool = True) -> None:
    """Kill a process that writes to the folder some seconds after it opened it, or after it began to run."""
    ours, theirs = PROCESSES.Pipe(duplex=False)
    writer = PROCESSES.Process(target=write_until_killed, args=(folder, settings, saves, theirs))
    writer.start()
    theirs.close()
    try:
        if started:
            assert ours.poll(60)
            ours.recv()
        writer.join(timeout=after)
        assert writer.exitcode is None
    finally:
        writer.kill()
        writer.join(timeout=60)
        ours.close()


def is_cut_off(folder: Path) -> bool:
    """Tell whether there are files of a save that did not come to its end."""
    with DenseIndex.open(folder, read_only=True) as index:
        kept = {record.name for record in index.manifest.files}
    return any(path.suffix in (".new", ".faiss") and path.name not in kept for path in folder.iterdir())


def test_two_hundred_kills_leave_the_last_state_or_the_next(tmp_path: Path) -> None:
    kinds = ("flat", "hnsw", "ivfpq")
    known, cut_off, moments = dict.fromkeys(kinds, 0), 0, random.Random(0)
    for number in range(200):
        kind = kinds[number % len(kinds)]
        folder, saves = tmp_path / kind, tmp_path / f"{number}.saves"
        kill_a_writer(folder, IndexSettings(dimension=DIMENSION, kind=kind), saves, after=moments.uniform(0, 0.08))
        at_least = known[kind] + saves.stat().st_size
        cut_off += is_cut_off(folder)
        with DenseIndex.open(folder, read_only=True) as index:
            found = step_of(index)
        assert found in (at_least, at_least + 1)
        known[kind] = found
    assert sum(known.values()) >= 100
    assert cut_off >= 20


def test_a_kill_before_the_first_save_leaves_an_empty_index_or_none(tmp_path: Path) -> None:
    settings, moments = IndexSettings(dimension=DIMENSION), random.Random(0)
    for number in range(20):
        folder, saves = tmp_path / str(number), tmp_path / f"{number}.saves"
        kill_a_writer(folder, settings, saves, after=moments.uniform(0, 0.1), started=False)
        done = saves.stat().st_size if saves.exists() else 0
        if not (folder / "manifest.json").exists():
            assert done == 0
            DenseIndex.create(folder, settings=settings).close()
        with DenseIndex.open(folder) as index:
            assert step_of(index) in (done, done + 1)
