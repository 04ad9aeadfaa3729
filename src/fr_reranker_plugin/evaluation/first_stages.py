"""The candidates of first stages: our own (BM25, the bi-encoder, or both), and those that others found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast, get_args

from fr_reranker_plugin.collections import Candidate, JudgedCollection
from fr_reranker_plugin.collections.candidate_lists import read_candidates
from fr_reranker_plugin.collections.opening import files_fingerprint
from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.evaluation.progress import ShowProgress
from fr_reranker_plugin.retrieval.document_index import DocumentIndex, SearchMethod
from fr_reranker_plugin.retrieval.documents import StoredDocument
from fr_reranker_plugin.retrieval.encoding_stream import in_blocks
from fr_reranker_plugin.retrieval.index_folder import IndexFolder
from fr_reranker_plugin.retrieval.index_manifest import MANIFEST_NAME
from fr_reranker_plugin.retrieval.lexical_index import LexicalIndex
from fr_reranker_plugin.retrieval.shared_encoder import SharedEncoder
from fr_reranker_plugin.scoring.settings import EMBEDDED, ModelSettings

METHODS: Final = get_args(SearchMethod)
GIVEN: Final = "given"
"""The first stage whose candidates come with the collection."""

_ADDED_AT_ONCE: Final = 256
_SEARCHED_AT_ONCE: Final = 256
_SECONDS_BETWEEN_SAVES: Final = 60.0
_LEAST_DEPTH: Final = 100
"""A first stage finds at least so many passages, so that its own R@100 means what it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStages:
    """Where candidates come from.

    :param names: `"bm25"`, `"dense"`, `"hybrid"`, `"given"`, or files that `read_candidates` reads.
    :param encoder: The bi-encoder of an index that is built here.
    :param index: An index that was made before, to search instead; its own bi-encoder runs where `encoder` would.
    """

    names: tuple[str, ...] = ("dense",)
    encoder: ModelSettings = field(default_factory=lambda: ModelSettings(model=EMBEDDED))
    index: Path | None = None

    def identity(self, name: str, depth: int | None) -> str:
        """Give a text that differs where other candidates would be found for the same collection.

        :raises CollectionError: If there is no such file or index.
        :raises ModelLoadError: If the bi-encoder cannot be found.
        """
        if name == GIVEN:
            return ""  # the collection's own fingerprint covers its lists
        if name not in METHODS:
            return files_fingerprint([Path(name)])
        searched = f"{name}, {max(depth or 0, _LEAST_DEPTH)} candidates"
        if self.index is not None:
            return f"{searched}, index {files_fingerprint([self.index / MANIFEST_NAME])}"
        return searched if name == "bm25" else f"{searched}, encoder {self._encoder_fingerprint()}"

    def _encoder_fingerprint(self) -> str:
        from fr_reranker_plugin.retrieval.encoder_files import EncoderFiles
        from fr_reranker_plugin.scoring.checkpoint import find_checkpoint
        from fr_reranker_plugin.scoring.loading import resolve_settings

        folder = find_checkpoint(resolve_settings(self.encoder), embedded="bi_encoder")
        return EncoderFiles(folder).fingerprint()


class CandidateSource:
    """Gives the candidates of first stages; an index is opened or built when one needs it, and once.

    :param collection: Whose passages are searched.
    :param stages: Which first stages.
    :param folder: Where an index is built; what an interrupted run has saved there is not encoded again.
    :param show: Shows the progress of encoding.
    """

    def __init__(self, collection: JudgedCollection, stages: FirstStages, folder: Path, show: ShowProgress) -> None:
        self._collection = collection
        self._stages = stages
        self._folder = folder
        self._show = show
        self._opened = ExitStack()
        self._index: DocumentIndex | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()

    def reader(self, name: str, depth: int | None) -> Callable[[], Iterator[Candidate]]:
        """Give what reads or finds the candidates of a first stage.

        :param depth: How many of each query are reranked; `None` is for lists that are there already.
        :raises SettingsError: If the collection has no lists, or nobody said how many to find.
        """
        if name == GIVEN:
            if self._collection.candidates is None:
                raise SettingsError(
                    f"{self._collection.name} comes without candidate lists; give a file of them, or a first stage"
                )
            return self._collection.candidates
        if name not in METHODS:
            return partial(read_candidates, Path(name))
        if depth is None:
            raise SettingsError(f"a pool of all candidates is for lists of them; of {name!r}, say how many to rerank")
        return partial(self._found, cast("SearchMethod", name), max(depth, _LEAST_DEPTH))

    def _found(self, method: SearchMethod, depth: int) -> Iterator[Candidate]:
        if method == "bm25" and self._stages.index is None:
            return bm25_candidates(self._collection, depth)
        if self._index is None:
            self._index = self._opened.enter_context(self._open())
        return index_candidates(self._index, self._collection.queries, method, depth)

    def _open(self) -> DocumentIndex:
        settings = self._stages.encoder
        if self._stages.index is not None:
            device, local = settings.devices[0], settings.local_files_only
            return DocumentIndex.open(self._stages.index, read_only=True, device=device, local_files_only=local)
        encoder = self._opened.enter_context(closing(SharedEncoder(settings)))
        with self._show("encoding passages", None) as advance:
            return open_or_build_index(self._collection, self._folder, encoder, advance)


def bm25_candidates(collection: JudgedCollection, depth: int) -> Iterator[Candidate]:
    """Find the `depth` best passages of every query by BM25 with French analysis; needs no model."""
    index = LexicalIndex.build(_documents(collection))
    for some in in_blocks(collection.queries.items(), _SEARCHED_AT_ONCE):
        found = index.search([text for _, text in some], depth)
        yield from (Candidate(query, *hit) for (query, _), hits in zip(some, found, strict=True) for hit in hits)


def index_candidates(
    index: DocumentIndex, queries: Mapping[str, str], method: SearchMethod, depth: int
) -> Iterator[Candidate]:
    """Find the `depth` best passages of every query in an index."""
    for some in in_blocks(queries.items(), _SEARCHED_AT_ONCE):
        found = index.search_many([text for _, text in some], depth, method=method)
        for (query, _), hits in zip(some, found, strict=True):
            yield from (Candidate(query, hit.document.id, hit.score) for hit in hits)


def open_or_build_index(
    collection: JudgedCollection, folder: Path, encoder: SharedEncoder, on_progress: Callable[[int], object]
) -> DocumentIndex:
    """Give an index of all passages in `folder`; what an interrupted run has encoded and saved is not encoded again.

    It is saved about once a minute.

    :raises IndexFolderError: If the folder has an index of another collection or encoder, or is damaged.
    """
    exists = IndexFolder(folder).holds_index()
    index = DocumentIndex.open(folder, encoder) if exists else DocumentIndex.create(folder, encoder)
    try:
        _complete(index, collection, on_progress)
    except BaseException:
        index.close()
        raise
    return index


def _complete(index: DocumentIndex, collection: JudgedCollection, on_progress: Callable[[int], object]) -> None:
    known = set(index.dense.ids())
    added, last = 0, time.monotonic()
    for some in in_blocks(_documents(collection), _ADDED_AT_ONCE):
        new = [document for document in some if document.id not in known]
        index.add(new)
        added += len(new)
        on_progress(len(some))
        if new and time.monotonic() - last > _SECONDS_BETWEEN_SAVES:
            index.dense.save()  # the words can only be built anew, out of all documents: once is enough
            last = time.monotonic()
    if added:
        index.save()


def _documents(collection: JudgedCollection) -> Iterator[StoredDocument]:
    for identifier, passage in collection.passages():
        yield StoredDocument(identifier, passage.full_text)
