"""More texts than fit into memory are encoded in order, and after a kill from where it was."""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpoints import SENTENCES
from encoders import E5_PROMPTS, build_bi_encoder
from engines import TIMEOUT
from fr_reranker_plugin import (
    EncodedCorpus,
    EncoderIdentity,
    IndexFolderError,
    IndexLockedError,
    ModelSettings,
    SettingsError,
    SharedEncoder,
    StoredDocument,
    TextEncoder,
    encode_corpus,
    encode_stream,
)
from fr_reranker_plugin.retrieval import durable_files, encoded_corpus
from fr_reranker_plugin.retrieval.folder_lock import FolderLock

DOCUMENTS = [StoredDocument(f"d{n}", f"texte numéro {n}") for n in range(11)]


class HashEncoder:
    """Gives each text a vector that depends on nothing else, at once; notes what it was asked."""

    def __init__(self, **identity: object) -> None:
        fields = {"model": "hash", "max_length": 512, "dimension": 8, "passage_prefix": "p: "} | identity
        self.identity = EncoderIdentity(**fields)
        self.asked: list[str] = []

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        seeds = [int.from_bytes(sha256(text.encode()).digest()[:4]) for text in texts]
        rows = np.stack([np.random.default_rng(seed).normal(size=self.identity.dimension) for seed in seeds])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    encode_queries = encode_passages


def contents(corpus: EncodedCorpus) -> tuple[list[str], np.ndarray]:
    shards = list(corpus.shards())
    return [name for shard in shards for name in shard.ids], np.concatenate([shard.vectors for shard in shards])


def expected() -> tuple[list[str], np.ndarray]:
    return [one.id for one in DOCUMENTS], HashEncoder().encode_passages([one.text for one in DOCUMENTS])


def holds_all(folder: Path) -> bool:
    (ids, vectors), (all_ids, all_vectors) = contents(EncodedCorpus.open(folder)), expected()
    return ids == all_ids and np.array_equal(vectors, all_vectors)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "writer.lock"}


def test_a_stream_gives_the_vectors_of_its_role_in_order(tmp_path: Path) -> None:
    folder = build_bi_encoder(tmp_path / "model", prompts=E5_PROMPTS)
    encoder = TextEncoder.load(ModelSettings(model=str(folder), device="cpu"))
    shared = SharedEncoder(ModelSettings(model=str(folder), device="cpu"))
    for one in (encoder, shared):
        for role, encode in (("passage", encoder.encode_passages), ("query", encoder.encode_queries)):
            blocks = list(encode_stream(one, iter(SENTENCES), role=role, texts_at_once=4))
            assert [len(block) for block in blocks] == [4, 2]
            assert np.abs(np.concatenate(blocks) - encode(SENTENCES)).max() <= 1e-5
    shared.close()


@given(count=st.integers(0, 40), size=st.integers(1, 12))
def test_a_stream_reads_no_further_than_the_block_that_is_asked_for(count: int, size: int) -> None:
    read: list[str] = []

    def texts() -> Iterator[str]:
        for number in range(count):
            read.append(str(number))
            yield read[-1]

    encoder, done, seen = HashEncoder(), [], 0
    for block in encode_stream(encoder, texts(), texts_at_once=size, on_progress=done.append):
        seen += len(block)
        assert len(read) == seen
    assert encoder.asked == [str(number) for number in range(count)]
    assert done == [min(count, end) for end in range(size, count + size, size)]


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ("une", {}, "got one string"),
        (["une"], {"role": "title"}, "'passage', 'query', got 'title'"),
        (["une"], {"texts_at_once": 0}, "texts_at_once must be >= 1"),
    ],
)
def test_a_stream_refuses_what_it_cannot_read_before_any_work(texts: object, options: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        encode_stream(HashEncoder(), texts, **options)  # type: ignore[arg-type]


def test_a_corpus_is_written_in_shards_in_its_order(tmp_path: Path) -> None:
    done: list[int] = []
    corpus = encode_corpus(HashEncoder(), iter(DOCUMENTS), tmp_path, documents_per_shard=4, on_progress=done.append)
    assert (done, len(corpus), corpus.is_complete) == ([4, 8, 11], 11, True)
    assert [len(shard.ids) for shard in corpus.shards()] == [4, 4, 3]
    assert holds_all(tmp_path)
    assert EncodedCorpus.open(tmp_path).encoder == HashEncoder().identity


def test_a_run_that_stops_is_continued_without_encoding_anything_twice(tmp_path: Path) -> None:
    def broken() -> Iterator[StoredDocument]:
        yield from DOCUMENTS[:6]
        raise OSError("the disk of the corpus is gone")

    first, second, third = HashEncoder(), HashEncoder(), HashEncoder()
    with pytest.raises(OSError, match="is gone"):
        encode_corpus(first, broken(), tmp_path, documents_per_shard=2)
    begun = EncodedCorpus.open(tmp_path)
    assert (len(begun), begun.is_complete) == (6, False)
    encode_corpus(second, DOCUMENTS, tmp_path, documents_per_shard=2)
    assert first.asked + second.asked == [one.text for one in DOCUMENTS]
    encode_corpus(third, DOCUMENTS, tmp_path, documents_per_shard=2)
    assert third.asked == []
    assert holds_all(tmp_path)


def _encode_until_killed(folder: Path, writes: int) -> None:
    flushed = os.fsync

    def fsync(file: int) -> None:
        nonlocal writes
        if writes == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        writes -= 1
        flushed(file)

    durable_files.os.fsync = fsync
    encode_corpus(HashEncoder(), DOCUMENTS, folder, documents_per_shard=4)


@pytest.mark.skipif(os.name == "nt", reason="needs fork and SIGKILL")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # the child starts no thread
def test_a_kill_at_any_write_loses_one_shard_at_most(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for writes in range(100):
        folder = tmp_path / str(writes)
        child = context.Process(target=_encode_until_killed, args=(folder, writes))
        child.start()
        child.join(TIMEOUT)
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        before = len(EncodedCorpus.open(folder)) if EncodedCorpus.is_in(folder) else 0
        encoder = HashEncoder()
        encode_corpus(encoder, DOCUMENTS, folder, documents_per_shard=4)
        assert encoder.asked == [one.text for one in DOCUMENTS[before:]]
        assert holds_all(folder)
    assert 15 < writes < 99


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([DOCUMENTS[0]._replace(text="autre"), *DOCUMENTS[1:]], r"other documents.* document 0 \('d0'\)"),
        ([*DOCUMENTS[:5], DOCUMENTS[5]._replace(id="x"), *DOCUMENTS[6:]], r"document 4 \('d4'\) and document 7"),
        (DOCUMENTS[::-1], "other documents"),
        (DOCUMENTS[:8], "holds 11 documents, the corpus 8 now"),
        ([*DOCUMENTS, StoredDocument("d11", "de plus")], "other documents"),
        ([], "holds 11 documents, the corpus 0 now"),
    ],
    ids=["text", "id", "order", "fewer", "more", "none"],
)
def test_another_corpus_is_refused_and_nothing_changes(documents: list, message: str, tmp_path: Path) -> None:
    encode_corpus(HashEncoder(), DOCUMENTS, tmp_path, documents_per_shard=4)
    before = files_of(tmp_path)
    encoder = HashEncoder()
    with pytest.raises(IndexFolderError, match=message):
        encode_corpus(encoder, documents, tmp_path, documents_per_shard=4)
    assert (encoder.asked, files_of(tmp_path)) == ([], before)


def test_more_documents_behind_a_complete_corpus_are_refused(tmp_path: Path) -> None:
    encode_corpus(HashEncoder(), DOCUMENTS[:8], tmp_path, documents_per_shard=4)
    with pytest.raises(IndexFolderError, match="is complete with 8 documents, and there are more now"):
        encode_corpus(HashEncoder(), DOCUMENTS, tmp_path, documents_per_shard=4)


@pytest.mark.parametrize("changed", [{"model": "x"}, {"passage_prefix": ""}, {"max_length": 64}, {"dimension": 4}])
def test_another_encoder_is_refused_by_what_differs(changed: dict, tmp_path: Path) -> None:
    encode_corpus(HashEncoder(), DOCUMENTS[:4], tmp_path, documents_per_shard=4)
    with pytest.raises(IndexFolderError, match=f"vectors of another encoder: {next(iter(changed))}"):
        encode_corpus(HashEncoder(**changed), DOCUMENTS, tmp_path, documents_per_shard=4)
    with pytest.raises(IndexFolderError, match="documents_per_shard=4, not 5"):
        encode_corpus(HashEncoder(), DOCUMENTS, tmp_path, documents_per_shard=5)


def test_metadata_do_not_change_a_vector(tmp_path: Path) -> None:
    encode_corpus(HashEncoder(), DOCUMENTS, tmp_path)
    encoder = HashEncoder()
    encode_corpus(encoder, [one._replace(metadata={"année": 2020}) for one in DOCUMENTS], tmp_path)
    assert encoder.asked == []


@pytest.mark.parametrize("name", ["corpus.json", "shard-000001.json", "ids-000001.json", "vectors-000001.npy"])
def test_a_flipped_byte_is_found(name: str, tmp_path: Path) -> None:
    encode_corpus(HashEncoder(), DOCUMENTS, tmp_path, documents_per_shard=4)
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IndexFolderError, match=name.replace(".", r"\.")):
        contents(EncodedCorpus.open(tmp_path))


@pytest.mark.parametrize("name", ["corpus.json", "shard-000001.json", "ids-000001.json", "vectors-000001.npy"])
def test_a_missing_file_is_named_and_not_written_over(name: str, tmp_path: Path) -> None:
    encode_corpus(HashEncoder(), DOCUMENTS, tmp_path, documents_per_shard=4)
    (tmp_path / name).unlink()
    before = files_of(tmp_path)
    with pytest.raises(IndexFolderError, match=r"is missing|expected 3 shards, found 1|not what made them"):
        encode_corpus(HashEncoder(), DOCUMENTS, tmp_path, documents_per_shard=4)
    assert files_of(tmp_path) == before


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "writer.lock")
    with pytest.raises(IndexLockedError, match=str(os.getpid())):
        encode_corpus(HashEncoder(), DOCUMENTS, tmp_path)
    lock.release()
    assert len(encode_corpus(HashEncoder(), DOCUMENTS, tmp_path)) == 11


def test_a_format_of_the_future_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded_corpus, "_FORMAT", 2)
    encode_corpus(HashEncoder(), DOCUMENTS, tmp_path)
    monkeypatch.undo()
    with pytest.raises(IndexFolderError, match="up to format 1, found .*, 2"):
        EncodedCorpus.open(tmp_path)


def test_identities_without_a_revision_agree(tmp_path: Path) -> None:
    encode_corpus(HashEncoder(), DOCUMENTS, tmp_path)
    encoder = HashEncoder()
    encoder.identity = replace(encoder.identity, revision="abc")
    assert len(encode_corpus(encoder, DOCUMENTS, tmp_path)) == 11
