"""Documents to search by meaning, by words or by both: a bi-encoder, a dense and a lexical index in one folder."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Protocol, Self, get_args

from fr_reranker_plugin.errors import IndexFolderError, SettingsError
from fr_reranker_plugin.retrieval.bm25 import BM25Settings
from fr_reranker_plugin.retrieval.dense_index import DenseIndex
from fr_reranker_plugin.retrieval.documents import Hit, StoredDocument, check_documents
from fr_reranker_plugin.retrieval.encoder_identity import EncoderIdentity
from fr_reranker_plugin.retrieval.filters import Filter
from fr_reranker_plugin.retrieval.fusion import reciprocal_rank_fusion
from fr_reranker_plugin.retrieval.index_settings import IndexKind, IndexSettings
from fr_reranker_plugin.retrieval.lexical_part import LexicalPart
from fr_reranker_plugin.retrieval.shared_encoder import SharedEncoder
from fr_reranker_plugin.retrieval.text_encoder import check_texts
from fr_reranker_plugin.retrieval.vectors import Vectors
from fr_reranker_plugin.scoring.settings import check_whole_number

SearchMethod = Literal["dense", "bm25", "hybrid"]
"""By meaning, by words, or by both."""

_ADDED_AT_ONCE: Final = 256
_FUSED_AT_LEAST: Final = 100
"""A hybrid search merges the first hundred of both rankings, or as many as are asked for where that is more."""


class Encoder(Protocol):
    """What turns texts into unit vectors: a `SharedEncoder` or a `TextEncoder`."""

    @property
    def identity(self) -> EncoderIdentity:
        """What makes vectors comparable."""

    def encode_queries(self, texts: Sequence[str], /) -> Vectors:
        """Encode questions."""

    def encode_passages(self, texts: Sequence[str], /) -> Vectors:
        """Encode passages."""


class DocumentIndex:
    """Documents that are found by meaning, by words or by both.

    What is added can be found at once; it is on disk after `save`, all or nothing. Filters are exact for every method.
    The lexical index follows by itself: it is built anew from the documents at the first search after a change.

    Safe to use from any number of threads. Make one with `create` or `open`, and use it in a `with` statement or
    `close` it. The encoder stays its owner's to close, unless `open` loaded it.
    """

    def __init__(
        self, dense: DenseIndex, encoder: Encoder, lexical: LexicalPart, *, owned: SharedEncoder | None
    ) -> None:
        self.dense = dense
        self.encoder = encoder
        self._lexical = lexical
        self._owned = owned
        self._one_change = threading.Lock()
        """Held while documents change or are saved: changes wait until their lexical index is saved beside them."""

    @classmethod
    def create(
        cls,
        folder: Path | str | None,
        encoder: Encoder,
        *,
        kind: IndexKind = "flat",
        bm25: BM25Settings | None = None,
    ) -> Self:
        """Start an empty index.

        :param folder: Where `save` will put it; must not hold an index. `None`: in memory only.
        :param encoder: Encodes documents and questions.
        :param kind: How vectors are found; see `IndexSettings`.
        :param bm25: How words are weighed. `None`: as usual.
        :raises IndexFolderError: If the folder holds an index already.
        :raises MissingDependencyError: If FAISS, bm25s or PyStemmer is not installed.
        """
        identity = encoder.identity
        settings = IndexSettings(dimension=identity.dimension, kind=kind, encoder=identity)
        dense = DenseIndex.create(folder, settings=settings)
        return cls(dense, encoder, LexicalPart(dense, folder, bm25), owned=None)

    @classmethod
    def open(  # noqa: PLR0913 -- what is opened, how, and where the encoder runs
        cls,
        folder: Path | str,
        encoder: Encoder | None = None,
        *,
        read_only: bool = False,
        memory_map: bool = False,
        verify: bool = True,
        bm25: BM25Settings | None = None,
        device: str | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Open a saved index.

        :param encoder: Must be the one that the index was made with. `None`: that one is loaded.
        :param read_only: Beside a writer and other readers.
        :param memory_map: Leave the vectors on disk; with `read_only` only.
        :param verify: Compare the checksums of all files; without it, their sizes only.
        :param bm25: How words are weighed; not saved with the index, so say what was said to `create`.
        :param device: Where an encoder that is loaded runs; see `ModelSettings`.
        :param local_files_only: Load it without asking the Hub.
        :raises IndexFolderError: If there is no index, it is damaged, of another encoder, or of a newer version.
        :raises ModelLoadError: If its encoder cannot be loaded.
        """
        dense = DenseIndex.open(folder, read_only=read_only, memory_map=memory_map, verify=verify)
        owned = None
        try:
            if encoder is None:
                encoder = owned = _encoder_of(dense, folder, device=device, local_files_only=local_files_only)
            dense.settings.check_encoder(encoder.identity, str(folder))
        except BaseException:
            dense.close()
            if owned is not None:
                owned.close()
            raise
        return cls(dense, encoder, LexicalPart(dense, folder, bm25), owned=owned)

    def add(self, documents: Iterable[StoredDocument]) -> int:
        """Encode and add documents, which are read once; tell how many there were.

        :raises DuplicateDocumentError: If an id is taken. Documents before those it came with are added.
        :raises SettingsError: If the index was opened with `read_only`, and nothing is encoded then; or if a document
            cannot be stored, see `DenseIndex.add`: those before the ones it came with are added.
        """
        return sum(self._write(some, replace=False) for some in _in_steps(documents))

    def upsert(self, documents: Iterable[StoredDocument]) -> int:
        """Encode and add documents, or replace those with the same id; see `add`."""
        return sum(self._write(some, replace=True) for some in _in_steps(documents))

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents, and tell how many there were."""
        with self._one_change:
            return self.dense.delete(ids)

    def search(
        self, question: str, k: int = 10, *, method: SearchMethod = "hybrid", filters: Filter | None = None
    ) -> list[Hit]:
        """Find the `k` best documents for a question; see `search_many`."""
        if not isinstance(question, str):
            raise SettingsError(f"a question must be a string, got {type(question).__name__}")
        return self.search_many([question], k, method=method, filters=filters)[0]

    def search_many(
        self, questions: Iterable[str], k: int = 10, *, method: SearchMethod = "hybrid", filters: Filter | None = None
    ) -> list[list[Hit]]:
        """Find the `k` best documents for each question, best first.

        The scores are cosines in [-1, 1] (`"dense"`), BM25 scores above 0 (`"bm25"`; only documents with a word of the
        question), or sums of 1 / (60 + rank) over both rankings (`"hybrid"`).

        :param filters: Which documents may be found; see `retrieval/filters.py`.
        :raises SettingsError: If `k` is below 1, the method is unknown or a question is not a string.
        :raises FilterError: If the filter is malformed or compares what has no order.
        """
        check_whole_number("k", k)
        if method not in get_args(SearchMethod):
            raise SettingsError(f"method must be one of {', '.join(map(repr, get_args(SearchMethod)))}, got {method!r}")
        questions = check_texts(questions)
        if not questions:
            return []
        if method == "dense":
            return self._by_meaning(questions, k, filters)
        if method == "bm25":
            return self._by_words(questions, k, filters)
        depth = max(k, _FUSED_AT_LEAST)
        by_meaning, by_words = (find(questions, depth, filters) for find in (self._by_meaning, self._by_words))
        return [_fused(rankings, k) for rankings in zip(by_meaning, by_words, strict=True)]

    def save(self) -> None:
        """Put everything on disk, all or nothing; see `DenseIndex.save`."""
        with self._one_change:
            self.dense.save()
            self._lexical.save()

    def reload(self) -> bool:
        """Follow the writer, and tell whether it has saved since; see `DenseIndex.reload`."""
        return self.dense.reload()

    def close(self) -> None:
        """Give up files and memory; see `DenseIndex.close`."""
        with self._one_change:
            self.dense.close()
        if self._owned is not None:
            self._owned.close()

    def __len__(self) -> int:
        return len(self.dense)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, documents: Sequence[StoredDocument], *, replace: bool) -> int:
        self.dense.check_writable()
        vectors = self.encoder.encode_passages([row.text for row in check_documents(documents)])
        with self._one_change:
            (self.dense.upsert if replace else self.dense.add)(documents, vectors)
        return len(documents)

    def _by_meaning(self, questions: Sequence[str], k: int, filters: Filter | None) -> list[list[Hit]]:
        return self.dense.search(self.encoder.encode_queries(questions), k, filters=filters)

    def _by_words(self, questions: Sequence[str], k: int, filters: Filter | None) -> list[list[Hit]]:
        found = self._lexical.search(questions, k, filters)
        documents = {one.id: one for one in self.dense.get(sorted({id_ for row in found for id_, _ in row}))}
        return [[Hit(documents[id_], score) for id_, score in row if id_ in documents] for row in found]


def _in_steps(documents: Iterable[StoredDocument]) -> Iterator[list[StoredDocument]]:
    waiting = iter(documents)
    while some := list(islice(waiting, _ADDED_AT_ONCE)):
        yield some


def _fused(rankings: Sequence[Sequence[Hit]], k: int) -> list[Hit]:
    documents = {hit.document.id: hit.document for ranking in rankings for hit in ranking}
    merged = reciprocal_rank_fusion([[hit.document.id for hit in ranking] for ranking in rankings])
    return [Hit(documents[id_], score) for id_, score in merged[:k]]


def _encoder_of(dense: DenseIndex, folder: Path | str, *, device: str | None, local_files_only: bool) -> SharedEncoder:
    """Give the encoder that an index was made with.

    :raises IndexFolderError: If the index does not say.
    """
    made_by = dense.settings.encoder
    if made_by is None:
        raise IndexFolderError(f"{folder} does not say which encoder its vectors are of; give `encoder`")
    return SharedEncoder.of(made_by, device=device, local_files_only=local_files_only)
