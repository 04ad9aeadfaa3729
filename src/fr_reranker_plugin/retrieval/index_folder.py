"""A folder of immutable generations: a save writes new files, then replaces the manifest, then removes the old ones."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from fr_reranker_plugin.errors import IndexFolderError
from fr_reranker_plugin.retrieval.durable_files import flush, replace_file
from fr_reranker_plugin.retrieval.faiss_loading import load_faiss
from fr_reranker_plugin.retrieval.folder_lock import FolderLock
from fr_reranker_plugin.retrieval.index_manifest import MANIFEST_NAME, FileRecord, Manifest
from fr_reranker_plugin.retrieval.index_settings import IndexSettings

_LOCK_NAME: Final = "writer.lock"
_WORKING_NAME: Final = "working.sqlite"
_OURS: Final = re.compile(
    r"(?:vectors-\d+\.faiss|documents-\d+\.sqlite(?:-journal)?|working\.sqlite(?:-journal)?|manifest\.json\.new)"
)
_LATER_GENERATION: Final = re.compile(r"(?:vectors|documents)-\d*[1-9]\d*\.(?:faiss|sqlite)")


class IndexFolder:
    """Where an index is saved.

    :param path: The folder; it need not exist.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()  # not resolved: a reader follows a link that is set to another folder

    @property
    def real_path(self) -> Path:
        """The folder by the one name that all ways to it share."""
        return self.path.resolve()

    @property
    def working_file(self) -> Path:
        """The writer's private copy of the documents; worthless without the writer."""
        return self.path / _WORKING_NAME

    def holds_index(self) -> bool:
        """Tell whether something was saved here."""
        return (self.path / MANIFEST_NAME).exists()

    def holds_remains(self) -> bool:
        """Tell whether there are files of a generation that may have held documents: any but the empty first one."""
        return any(_LATER_GENERATION.fullmatch(path.name) for path in self.path.iterdir())

    def lock(self) -> FolderLock:
        """Become the writer of the folder, and create it if need be.

        :raises IndexLockedError: If there is a writer.
        :raises IndexFolderError: If the folder cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return FolderLock(self.path / _LOCK_NAME, otherwise=", or open it with read_only=True")
        except OSError as error:
            raise IndexFolderError(f"{self.path} cannot be written to: {error}; open it with read_only=True") from error

    def manifest(self) -> Manifest:
        """Read which files are the index now.

        :raises IndexFolderError: If that cannot be told.
        """
        return Manifest.read(self.path)

    def check_files(self, manifest: Manifest, *, contents: bool) -> None:
        """Refuse files that are not those that were saved.

        :param contents: Read all of them, rather than their sizes alone.
        :raises IndexFolderError: If one is missing or damaged.
        """
        for record in manifest.files:
            record.check(self.path, contents=contents)

    def save(
        self,
        *,
        generation: int,
        settings: IndexSettings,
        counts: tuple[int, int],
        write_vectors: Callable[[Path], None],
        write_documents: Callable[[Path], None],
    ) -> Manifest:
        """Write a generation and make it the current one, all or nothing; the caller is the writer.

        :param counts: How many documents and how many vectors.
        :param write_vectors: Writes the FAISS file; likewise `write_documents` the database.
        :raises IndexFolderError: If the disk is full; what was saved before is still there.
        """
        generation = self._unused(generation)
        vectors = self.path / f"vectors-{generation:06d}.faiss"
        documents = self.path / f"documents-{generation:06d}.sqlite"
        try:
            for path, write in ((vectors, write_vectors), (documents, write_documents)):
                path.unlink(missing_ok=True)
                write(path)
                flush(path)
            manifest = self._manifest_of(generation, settings, counts, vectors, documents)
            replace_file(self.path / MANIFEST_NAME, manifest.to_bytes())
        except (OSError, IndexFolderError) as error:
            raise IndexFolderError(
                f"the index could not be saved into {self.path}: {error}; what was saved before is unchanged, "
                "make room and save again"
            ) from error
        self.clean(manifest, working=True)
        return manifest

    def _manifest_of(
        self, generation: int, settings: IndexSettings, counts: tuple[int, int], vectors: Path, documents: Path
    ) -> Manifest:
        return Manifest(
            generation=generation,
            documents=counts[0],
            vectors=counts[1],
            settings=settings,
            vectors_file=FileRecord.of(vectors),
            documents_file=FileRecord.of(documents),
            saved_at=datetime.now(UTC).isoformat(timespec="seconds"),
            saved_with={"fr-reranker-plugin": version("fr-reranker-plugin"), "faiss": str(load_faiss().__version__)},
        )

    def _unused(self, generation: int) -> int:
        """Give a number that the manifest on disk does not name: a save may fail after it became the current one."""
        try:
            return max(generation, self.manifest().generation + 1)
        except IndexFolderError:
            return generation

    def clean(self, manifest: Manifest, *, working: bool = False) -> None:
        """Remove what earlier writers left: older generations, and files of saves that were cut off.

        :param manifest: What to keep.
        :param working: Keep the working file as well: it is in use.
        """
        keep = {record.name for record in manifest.files} | ({_WORKING_NAME} if working else set())
        for path in self.path.iterdir():
            if _OURS.fullmatch(path.name) and path.name not in keep:
                _remove(path)


def _remove(path: Path) -> None:
    """Remove a file that nothing names any more; Windows keeps it while a reader has it open, so a later save does."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        if os.name != "nt":
            raise
