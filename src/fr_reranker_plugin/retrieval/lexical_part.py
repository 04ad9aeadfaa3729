"""The lexical index beside a dense one: always that of its documents, built again when they have changed."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path
from typing import Final

from fr_reranker_plugin.errors import IndexFolderError
from fr_reranker_plugin.retrieval.bm25 import BM25Settings
from fr_reranker_plugin.retrieval.dense_index import DenseIndex
from fr_reranker_plugin.retrieval.lexical_index import LexicalIndex

logger = logging.getLogger(__name__)

_PREFIX: Final = "words-"
_NAMED_BY: Final = 16
"""So many digits of the checksum of the documents name the folder of their lexical index."""


class LexicalPart:
    """The lexical index of the documents in a dense index.

    On disk it is a cache: it lies in a subfolder that is named after the checksum of the saved documents, so that one
    of other documents is never read; if it is missing or damaged, it is built from the documents again.

    Any number of threads may ask for it while the documents change. `forget` and `save` are for one thread at a time,
    and no document may change between the dense index's own save and `save`.

    :param dense: Holds the documents.
    :param folder: That of the dense index; `None`: in memory only.
    :param settings: How words are weighed. `None`: as usual.
    """

    def __init__(self, dense: DenseIndex, folder: Path | str | None, settings: BM25Settings | None) -> None:
        self._dense = dense
        self._folder = None if folder is None else Path(folder).absolute()
        self._settings = settings or BM25Settings()
        self._built: tuple[int, LexicalIndex] | None = None
        """With the version that it is of: what is stored late, by a thread that `forget` overtook, is not used."""
        self._on_disk: LexicalIndex | None = None
        self._version = 0
        self._documents_are_saved = True
        self._one_build = threading.Lock()

    def forget(self, *, saved: bool) -> None:
        """Take note that the documents have changed.

        :param saved: Whether they are now those that the manifest names.
        """
        self._version += 1
        self._built = None
        self._documents_are_saved = saved

    def index(self) -> LexicalIndex:
        """Give the lexical index of the documents as they are now."""
        if (index := self._up_to_date()) is not None:
            return index
        with self._one_build:
            if (index := self._up_to_date()) is not None:
                return index
            version = self._version
            index = self._saved() or LexicalIndex.build(self._dense.documents(), settings=self._settings)
            self._built = version, index
            return index

    def save(self) -> None:
        """Keep the index beside the documents that were just saved, and remove those of other documents."""
        self._documents_are_saved = True
        place, index = self._place(), self.index()
        if place is None or index is self._on_disk:
            return
        index.save(place)
        self._on_disk = index
        for other in place.parent.glob(f"{_PREFIX}*"):
            if other != place:
                shutil.rmtree(other, ignore_errors=True)

    def _up_to_date(self) -> LexicalIndex | None:
        built = self._built
        return built[1] if built is not None and built[0] == self._version else None

    def _saved(self) -> LexicalIndex | None:
        """Read the index of the saved documents, if they are the present ones and it is there and whole."""
        place = self._place()
        if not self._documents_are_saved or place is None or not place.is_dir():
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

    def _place(self) -> Path | None:
        manifest = self._dense.manifest
        if self._folder is None or manifest is None:
            return None
        return self._folder / f"{_PREFIX}{manifest.documents_file.sha256[:_NAMED_BY]}"
