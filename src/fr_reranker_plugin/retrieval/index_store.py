"""An open index: who may read and change it, where it is saved, and how it follows its folder."""

from __future__ import annotations

import logging
import shutil
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from fr_reranker_plugin.errors import IndexClosedError, IndexFolderError, SettingsError
from fr_reranker_plugin.retrieval.document_database import DocumentDatabase
from fr_reranker_plugin.retrieval.folder_lock import FolderLock
from fr_reranker_plugin.retrieval.generations import Reading, start_generations, write_generation
from fr_reranker_plugin.retrieval.index_contents import IndexContents
from fr_reranker_plugin.retrieval.index_folder import IndexFolder
from fr_reranker_plugin.retrieval.index_manifest import Manifest, Saved
from fr_reranker_plugin.retrieval.index_settings import IndexSettings, SearchDevice, check_device
from fr_reranker_plugin.retrieval.open_files import OpenFiles
from fr_reranker_plugin.retrieval.read_write_lock import ReadWriteLock
from fr_reranker_plugin.retrieval.vector_index import VectorIndex

logger = logging.getLogger(__name__)

_DEAD_AT_MOST: Final = 5
"""A save leaves out the vectors of deleted documents where they are more than one in so many."""

_DEAD_BETWEEN_SAVES: Final = 4096
"""A change leaves them out where they are more than so many, and more than those that have a document."""


class IndexStore:
    """The contents of an index, behind two locks: one for who changes it, one for when.

    :param held: The contents, and the right to write.
    :param settings: Of the index.
    :param folder: Where it is saved; `None`: nowhere.
    :param manifest: What was saved last.
    :param reading: How the folder is read.
    """

    def __init__(
        self,
        held: OpenFiles,
        settings: IndexSettings,
        *,
        folder: IndexFolder | None = None,
        manifest: Manifest | None = None,
        reading: Reading | None = None,
    ) -> None:
        self.settings = settings
        self.saved = None if manifest is None else Saved(manifest, held.contents.revision)
        self._held = held
        self._folder = folder
        self._how_read = reading or Reading()
        self._read_only = folder is not None and held.lock is None
        self._copies: dict[Path, Manifest] = {}
        self._one_change = threading.Lock()
        self._access = ReadWriteLock()
        self._release = weakref.finalize(self, held.release)

    @classmethod
    def create(cls, folder: Path | str | None, settings: IndexSettings, *, device: SearchDevice) -> Self:
        """Start an empty index; see `DenseIndex.create`."""
        check_device(device)
        vectors = VectorIndex.empty(settings, device=device)
        if folder is None:
            return cls(OpenFiles(IndexContents(vectors, DocumentDatabase.create(None)), None, None), settings)
        place = IndexFolder(folder)
        lock = place.lock()
        try:
            start_generations(place, settings)
            return cls._opened(place, lock, Reading(device=device))
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, path: Path | str, *, read_only: bool, reading: Reading) -> Self:
        """Open a saved index; see `DenseIndex.open`."""
        check_device(reading.device)
        if reading.memory_map and not read_only:
            raise SettingsError("memory_map=True needs read_only=True: vectors on disk cannot be added to")
        folder = IndexFolder(path)
        folder.manifest()  # before a lock file is made where there is no index
        if read_only:
            return cls._opened(folder, None, reading)
        lock = folder.lock()
        try:
            return cls._opened(folder, lock, reading)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _opened(cls, folder: IndexFolder, lock: FolderLock | None, reading: Reading) -> Self:
        manifest, contents = reading.newest(folder)
        if lock is not None:
            folder.clean(manifest)
        held = OpenFiles(contents, lock, None)
        return cls(held, manifest.settings, folder=folder, manifest=manifest, reading=reading)

    @property
    def revision(self) -> int:
        """See `DenseIndex.revision`."""
        return self._held.contents.revision

    @property
    def place(self) -> str:
        """What to call the index in a message."""
        return "the index in memory" if self._folder is None else str(self._folder.path)

    @contextmanager
    def reading(self) -> Iterator[IndexContents]:
        """Hold the contents still, together with other readers."""
        with self._access.reading():
            self._check_open()
            yield self._held.contents

    @contextmanager
    def changing(self) -> Iterator[IndexContents]:
        """Be the only one to change the contents; others read meanwhile, except while `alone` is held as well."""
        with self._one_change:
            self.check_writable()
            self._work_on_a_copy()
            contents = self._held.contents
            yield contents
            self._compact(dead_at_most=max(_DEAD_BETWEEN_SAVES, contents.vectors.total // 2))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep readers out."""
        with self._access.writing():
            yield

    def save(self, path: Path | str | None) -> None:
        """See `DenseIndex.save`."""
        with self._one_change:
            self._check_open()
            if path is not None and (self._folder is None or IndexFolder(path).real_path != self._folder.real_path):
                self._save_copy(IndexFolder(path))
            else:
                self._save_own()

    def reload(self) -> bool:
        """See `DenseIndex.reload`."""
        with self._one_change:
            self._check_open()
            if self._folder is None or self.saved is None or not self._read_only:
                return False
            if self._folder.manifest() == self.saved.manifest:
                return False
            manifest, contents = self._how_read.newest(self._folder)
            if manifest.settings != self.settings:
                contents.close()
                raise IndexFolderError(f"{self.place} holds another index than the one that was opened; open it anew")
            with self.alone():
                before, self._held.contents = self._held.contents, contents
                self.saved = Saved(manifest, contents.revision)
                before.close()
            return True

    def close(self) -> None:
        """See `DenseIndex.close`."""
        with self._one_change, self.alone():
            saved = self.saved
            if self._release.alive and saved is not None and saved.revision != self.revision:
                logger.warning(
                    "%s is closed with changes that were not saved: they are lost, and it is as it was saved last "
                    "(documents: %d); save before you close to keep changes",
                    self.place,
                    saved.manifest.documents,
                )
            self._release()

    def check_writable(self) -> None:
        """See `DenseIndex.check_writable`."""
        self._check_open()
        if self._read_only:
            raise SettingsError(f"{self.place} was opened with read_only=True; open it for writing to change it")

    def _check_open(self) -> None:
        if not self._release.alive:
            raise IndexClosedError(f"{self.place} is closed; open it again")

    def _work_on_a_copy(self) -> None:
        """Before the first change, copy the saved documents: a generation is never written again."""
        if self._folder is None or self.saved is None or self._held.working_file is not None:
            return
        working = self._folder.working_file
        shutil.copyfile(self._folder.path / self.saved.manifest.documents_file.name, working)
        database = DocumentDatabase.open(working, immutable=False)
        with self.alone():
            self._held.working_file = working
            before, self._held.contents.database = self._held.contents.database, database
            before.close()

    def _save_own(self) -> None:
        if self._folder is None or self.saved is None:
            raise SettingsError("the index is in memory only; say in which folder to save it")
        if self._read_only:
            raise SettingsError(f"{self.place} was opened with read_only=True; save a copy into another folder")
        contents = self._held.contents
        if self.saved.revision != contents.revision:
            self._compact(dead_at_most=contents.vectors.total // _DEAD_AT_MOST)
            number = self.saved.manifest.generation + 1
            manifest = write_generation(self._folder, number, self.settings, contents)
            self.saved = Saved(manifest, contents.revision)

    def _save_copy(self, folder: IndexFolder) -> None:
        contents = self._held.contents
        lock = folder.lock()
        try:
            before = self._copies.get(folder.real_path)
            if before is None or not folder.holds_index() or folder.manifest() != before:
                before = start_generations(folder, self.settings)
            if self._folder is None:
                self._compact(dead_at_most=contents.vectors.total // _DEAD_AT_MOST)
            self._copies[folder.real_path] = write_generation(folder, before.generation + 1, self.settings, contents)
        finally:
            lock.release()

    def _compact(self, *, dead_at_most: int) -> None:
        """Leave out the vectors of deleted documents, where they are more than so many."""
        contents = self._held.contents
        if contents.dead > dead_at_most:
            vectors, positions = contents.compacted()
            with self.alone():
                contents.adopt(vectors, positions)
