"""What is on disk is refused or whole; what fails halfway changes nothing; readers see one state at a time."""

import errno
import fcntl
import json
import multiprocessing
import os
import resource
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fr_reranker_plugin import DenseIndex, EncoderIdentity, IndexFolderError, IndexLockedError, IndexSettings
from fr_reranker_plugin.retrieval import vector_index
from fr_reranker_plugin.retrieval.folder_lock import FolderLock
from index_writer import (
    DIMENSION,
    always_at,
    contents_at,
    read_when_asked,
    step_of,
    take_step,
    try_to_write,
    vector_of,
)
from unit_vectors import documents, unit_vectors

PROCESSES = multiprocessing.get_context("forkserver")
KINDS = ("flat", "hnsw", "ivfpq")
ENCODER = EncoderIdentity(
    model="modèle",
    revision="1",
    max_length=512,
    query_prefix="query: ",
    passage_prefix="passage: ",
    dimension=DIMENSION,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with DenseIndex.create(tmp_path / "index", settings=IndexSettings(dimension=DIMENSION, encoder=ENCODER)) as index:
        take_step(index, 1)
        index.save()
    return tmp_path / "index"


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "writer.lock"}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip, cut, empty, Path.unlink])
@pytest.mark.parametrize("pattern", ["manifest.json", "vectors-*", "documents-*"])
def test_a_damaged_file_is_refused_by_name_and_nothing_is_overwritten(
    folder: Path, pattern: str, damage: Callable[[Path], None]
) -> None:
    [path] = folder.glob(pattern)
    damage(path)
    before = bytes_of(folder)
    for read_only in (True, False):
        with pytest.raises(IndexFolderError, match=path.name):
            DenseIndex.open(folder, read_only=read_only)
    with pytest.raises(IndexFolderError):
        DenseIndex.create(folder, settings=IndexSettings(dimension=DIMENSION))
    assert bytes_of(folder) == before


def test_every_byte_of_the_manifest_counts(folder: Path) -> None:
    path = folder / "manifest.json"
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(IndexFolderError):
            DenseIndex.open(folder, read_only=True)
    path.write_bytes(content)
    DenseIndex.open(folder, read_only=True).close()


def test_an_index_of_another_encoder_or_a_newer_version_is_refused_and_stays(folder: Path) -> None:
    before = bytes_of(folder)
    for expected, says in [
        (replace(ENCODER, model="autre"), "autre"),
        (replace(ENCODER, revision="2"), "revision"),
        (replace(ENCODER, dimension=32), "32"),
    ]:
        for read_only in (True, False):
            with pytest.raises(IndexFolderError, match=says):
                DenseIndex.open(folder, expected=expected, read_only=read_only)
    DenseIndex.open(folder, expected=ENCODER).close()
    assert bytes_of(folder) == before
    manifest = json.loads(before["manifest.json"])
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(IndexFolderError, match="has the format 2"):
        DenseIndex.open(folder)


def test_a_second_writer_is_refused_with_the_process_of_the_first(folder: Path) -> None:
    ours, theirs = PROCESSES.Pipe(duplex=False)
    with DenseIndex.open(folder) as index:
        with pytest.raises(IndexLockedError, match=f"process {os.getpid()}, this one; use what has it open"):
            DenseIndex.open(folder)
        other = PROCESSES.Process(target=try_to_write, args=(folder, theirs))
        other.start()
        assert ours.poll(60)
        assert f"process {os.getpid()};" in ours.recv()
        other.join(timeout=60)
        DenseIndex.open(folder, read_only=True).close()
        assert step_of(index) == 1
    DenseIndex.open(folder).close()


def refusing(number: int) -> Callable[[int, int], None]:
    """Give a `flock` of a file system that answers with this error."""

    def flock(file: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    return flock


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EIO])
def test_a_file_system_without_locks_is_told_from_a_second_writer(
    number: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bytes_of(folder)
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    with pytest.raises(IndexFolderError, match=rf"its file system locks no files \({os.strerror(number)}\); write to"):
        DenseIndex.open(folder)
    assert bytes_of(folder) == before
    assert step_of(DenseIndex.open(folder, read_only=True)) == 1


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES])
def test_each_way_to_say_that_a_lock_is_held_names_its_holder(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "writer.lock").write_text("1234")
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    with pytest.raises(IndexLockedError, match="open for writing in process 1234; close it there"):
        FolderLock(tmp_path / "writer.lock")


def test_a_folder_is_the_same_by_whatever_way_it_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "beside").mkdir()
    names = (tmp_path / "link", tmp_path / "beside" / ".." / folder.name)
    with DenseIndex.open(folder) as index:
        for step, name in enumerate(names, start=2):
            take_step(index, step)
            index.save(name)
            with DenseIndex.open(folder, read_only=True) as reader:
                assert step_of(reader) == step
    with DenseIndex.create(settings=IndexSettings(dimension=DIMENSION)) as index:
        (tmp_path / "copy link").symlink_to(tmp_path / "copy")
        for name in ("copy", "copy link", "beside/../copy"):
            index.save(tmp_path / name)


def test_a_reader_follows_a_link_to_a_newer_index(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    with DenseIndex.open(tmp_path / "link", read_only=True) as reader:
        with DenseIndex.open(folder) as writer:
            take_step(writer, 2)
            writer.save(tmp_path / "newer")
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to(tmp_path / "newer")
        assert reader.reload()
        assert step_of(reader) == 2


def test_a_copy_that_was_removed_is_saved_again_and_one_of_another_writer_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    with DenseIndex.open(folder) as index:
        index.save(copy)
        shutil.rmtree(copy)
        index.save(copy)
        (copy / "manifest.json").unlink()
        with pytest.raises(IndexFolderError, match="no manifest"):
            index.save(copy)
        shutil.rmtree(copy)
        index.save(copy)
        with DenseIndex.open(copy) as other:
            take_step(other, 2)
            other.save()
        with pytest.raises(IndexFolderError, match="holds an index of"):
            index.save(copy)


def test_reader_processes_follow_the_writer_when_they_reload(folder: Path) -> None:
    with ExitStack() as stack:
        readers = []
        for memory_map in (False, True):
            ours, theirs = PROCESSES.Pipe()
            reader = PROCESSES.Process(target=read_when_asked, args=(folder, memory_map, theirs))
            reader.start()
            stack.callback(reader.kill)
            readers.append((reader, ours))
        index = stack.enter_context(DenseIndex.open(folder))
        for step in range(2, 8):
            assert [_received(ours) for _, ours in readers] == [(step > 2, step - 1)] * 2
            take_step(index, step)
            _ask_all(readers)
            assert [_received(ours) for _, ours in readers] == [(False, step - 1)] * 2
            index.save()
            _ask_all(readers)
        for reader, ours in readers:
            assert _received(ours) == (True, 7)
            ours.send(None)
            reader.join(timeout=60)
            assert reader.exitcode == 0


def _ask_all(readers: list) -> None:
    for _, ours in readers:
        ours.send("reload")


def _received(connection) -> tuple[bool, int]:
    assert connection.poll(60)
    return connection.recv()


@pytest.mark.parametrize("kind", KINDS)
def test_threads_that_search_beside_a_writer_see_text_and_vector_of_the_same_state(kind: str, tmp_path: Path) -> None:
    threads, steps = 8, 30
    begin, written = threading.Barrier(threads + 1, timeout=60), threading.Event()
    settings = IndexSettings(dimension=DIMENSION, kind=kind)

    def write(index: DenseIndex) -> None:
        begin.wait()
        try:
            for step in range(2, steps):
                take_step(index, step)
                index.save()
        finally:
            written.set()

    def read(index: DenseIndex, number: int) -> int:
        query, searches = unit_vectors(1, DIMENSION, seed=number), 0
        begin.wait()
        while not written.is_set() or not searches:
            [hits] = index.search(query, 50)
            assert len({hit.document.id for hit in hits}) == len(hits) >= len(always_at(1))
            for hit in hits:
                assert hit.score == pytest.approx(float(query[0] @ vector_of(hit.document)), abs=1e-5)
            searches += 1
        return searches

    with DenseIndex.create(tmp_path / "index", settings=settings) as index, ThreadPoolExecutor(threads + 1) as pool:
        take_step(index, 1)
        index.save()
        writing = pool.submit(write, index)
        reading = [pool.submit(read, index, number) for number in range(threads)]
        assert all(future.result(timeout=60) for future in reading)
        writing.result(timeout=60)
        assert step_of(index) == steps - 1


@contextmanager
def no_room_for_documents(index: DenseIndex) -> Iterator[None]:
    """Let SQLite find the disk full."""
    with index._store.changing() as contents:
        connections = [link.connection for link in contents.database._connections._links]
    [pages] = connections[0].execute("PRAGMA page_count").fetchone()
    for connection in connections:
        connection.execute(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        for connection in connections:
            connection.execute("PRAGMA max_page_count = 1000000")


@pytest.mark.parametrize("kind", KINDS)
def test_a_write_that_fails_halfway_adds_nothing_and_shifts_nothing(kind: str, tmp_path: Path) -> None:
    many = documents(3000)
    with DenseIndex.create(tmp_path / "index", settings=IndexSettings(dimension=DIMENSION, kind=kind)) as index:
        take_step(index, 1)
        index.save()
        for write, refused in ((index.add, many), (index.upsert, [*always_at(2), *many])):
            with no_room_for_documents(index), pytest.raises(IndexFolderError, match="full"):
                write(refused, unit_vectors(len(refused), DIMENSION, seed=9))
            assert step_of(index) == 1
        take_step(index, 2)
        assert step_of(index) == 2
        index.save()
    with DenseIndex.open(tmp_path / "index") as index:
        assert step_of(index) == 2
        take_step(index, 3)
        index.save()
        assert step_of(index) == 3


def test_an_add_whose_training_fails_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    settings = IndexSettings(dimension=DIMENSION, kind="ivf", ivf_lists=2)
    vectors = unit_vectors(100, DIMENSION)
    with DenseIndex.create(settings=settings) as index:
        take_step(index, 1)
        with monkeypatch.context() as patched:
            patched.setattr(vector_index, "train", fails)
            with pytest.raises(MemoryError):
                index.add(documents(100), vectors)
        assert step_of(index) == 1
        index.add(documents(100), vectors)
        assert np.array_equal(index.vectors(["d0", "d99"]), vectors[[0, 99]])
        assert len(index) == 100 + len(contents_at(1))


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the system refuse to write more into a file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("missing", [1, 100, 5000, 100_000])
@pytest.mark.parametrize("suffix", ["faiss", "sqlite"])
def test_a_save_without_room_leaves_what_was_saved_and_can_be_repeated(
    suffix: str, missing: int, tmp_path: Path
) -> None:
    many = documents(5000 if suffix == "sqlite" else 3000)
    vectors = [*unit_vectors(3000, DIMENSION), *[None] * (len(many) - 3000)]
    settings = IndexSettings(dimension=DIMENSION, kind="hnsw" if suffix == "faiss" else "flat")  # the larger file
    with DenseIndex.create(tmp_path / "whole", settings=settings) as whole:
        whole.add(many, vectors)
        whole.save()
    [path] = (tmp_path / "whole").glob(f"*.{suffix}")
    with DenseIndex.create(tmp_path / "index", settings=settings) as index:
        take_step(index, 1)
        index.save()
        index.delete([document.id for document in contents_at(1)])
        index.add(many, vectors)
        with (
            files_of_at_most(path.stat().st_size - missing),
            pytest.raises(IndexFolderError, match="could not be saved"),
        ):
            index.save()
        with DenseIndex.open(tmp_path / "index", read_only=True) as reader:
            assert step_of(reader) == 1
        index.save()
    with DenseIndex.open(tmp_path / "index", read_only=True) as reader:
        assert reader.ids() == [document.id for document in many]
        assert np.array_equal(reader.vectors(["d0", "d2999"]), unit_vectors(3000, DIMENSION)[[0, 2999]])
