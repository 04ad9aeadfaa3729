"""The lexical index beside a dense one: always that of its documents, built again when they have changed."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from fr_reranker_plugin.errors import IndexFolderError
from fr_reranker_plugin.retrieval.bm25 import BM25Settings
from fr_reranker_plugin.retrieval.dense_index import DenseIndex
from fr_reranker_plugin.retrieval.documents import StoredDocument
from fr_reranker_plugin.retrieval.filter_memory import FilterMemory
from fr_reranker_plugin.retrieval.filters import Filter
from fr_reranker_plugin.retrieval.lexical_index import LexicalIndex, Mask

logger = logging.getLogger(__name__)

_PREFIX: Final = "words-"
_NAMED_BY: Final = 16
"""So many digits of the checksum of the documents name the folder of their lexical index."""


class _Built(NamedTuple):
    """An index, and the revision of the documents when its building began: if it is another now, build again."""

    revision: int
    words: LexicalIndex
    masks: FilterMemory[Mask]


class LexicalPart:
    """The lexical index of the documents in a dense index.

    On disk it is a cache: it lies in a subfolder that is named after the checksum of the saved documents, so that one
    of other documents is never read; if it is missing or damaged, it is built from the documents again.

    Any number of threads may search it while the documents change.

    :param dense: Holds the documents.
    :param folder: That of the dense index; `None`: in memory only.
    :param settings: How words are weighed. `None`: as usual.
    """

    def __init__(self, dense: DenseIndex, folder: Path | str | None, settings: BM25Settings | None) -> None:
        self._dense = dense
        self._folder = None if folder is None else Path(folder).absolute()
        self._settings = settings or BM25Settings()
        self._built: _Built | None = None
        self._on_disk: LexicalIndex | None = None
        self._one_build = threading.Lock()

    def search(self, questions: Sequence[str], k: int, filters: Filter | None) -> list[list[tuple[str, float]]]:
        """Give the ids and scores of the best `k` documents that match; see `LexicalIndex.search`."""
        _, index, masks = self._newest()
        among = masks.recall(filters, lambda asked: index.mask(self._dense.ids(asked))) if filters else None
        return index.search_among(questions, k, among)

    def save(self) -> None:
        """Keep the index beside the documents that were just saved, and remove those of other documents.

        If documents have changed since, none is kept: it is built when the saved ones are opened.
        """
        revision, index, _ = self._newest()
        if revision != self._dense.revision or index is self._on_disk:
            return
        place = self._place(revision)
        if place is None:
            return
        index.save(place)
        self._on_disk = index
        for other in place.parent.glob(f"{_PREFIX}*"):
            if other != place:
                shutil.rmtree(other, ignore_errors=True)

    def _newest(self) -> _Built:
        built = self._built
        if built is not None and built.revision == self._dense.revision:
            return built
        with self._one_build:
            revision = self._dense.revision
            if self._built is None or self._built.revision != revision:
                index = self._saved(revision) or LexicalIndex.build(
                    _each_once(self._dense.documents()), settings=self._settings
                )
                self._built = _Built(revision, index, FilterMemory())
            return self._built

    def _saved(self, revision: int) -> LexicalIndex | None:
        """Read the index of the saved documents, if they are those of this revision and it is there and whole."""
        place = self._place(revision)
        if place is None or not place.is_dir():
            return None
        try:
            found = LexicalIndex.load(place)
        except IndexFolderError as error:
            logger.warning("the lexical index is built again: %s", error)
            return None
        if found.settings != self._settings:
            return None
        self._on_disk = found
        return found

    def _place(self, revision: int) -> Path | None:
        manifest = self._dense.manifest_of(revision)
        if self._folder is None or manifest is None:
            return None
        return self._folder / f"{_PREFIX}{manifest.documents_file.sha256[:_NAMED_BY]}"


def _each_once(documents: Iterable[StoredDocument]) -> Iterator[StoredDocument]:
    """Leave out what comes again: a document that was deleted and added while the others were read."""
    seen: set[str] = set()
    for document in documents:
        if document.id not in seen:
            seen.add(document.id)
            yield document
