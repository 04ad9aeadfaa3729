"""The one file that says which files are the index; replacing it is what saves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from fr_reranker_plugin.errors import IndexFolderError
from fr_reranker_plugin.retrieval.index_settings import IndexSettings

MANIFEST_NAME: Final = "manifest.json"
FORMAT: Final = 1
_KIND_OF_FILE: Final = "fr-reranker dense index"
_DAMAGED: Final = "restore it from a copy, or index the documents again"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """A file of the index: its name in the folder, its size in bytes and the SHA-256 of its bytes."""

    name: str
    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """Measure a file."""
        return cls(name=path.name, size=path.stat().st_size, sha256=_sha256(path))

    def check(self, folder: Path, *, contents: bool) -> None:
        """Refuse a file that is not the one that was saved.

        :param contents: Read all of it, rather than its size alone.
        :raises IndexFolderError: If it is missing, or another.
        """
        path = folder / self.name
        if not path.is_file():
            raise IndexFolderError(f"{path} is missing; {_DAMAGED}")
        size = path.stat().st_size
        if size != self.size:
            raise IndexFolderError(f"{path} is damaged: expected {self.size} bytes, found {size}; {_DAMAGED}")
        if contents and (found := _sha256(path)) != self.sha256:
            raise IndexFolderError(
                f"{path} is damaged: expected the SHA-256 {self.sha256[:12]}…, found {found[:12]}…; {_DAMAGED}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a saved generation of an index consists of.

    :param generation: Grows by one with each save.
    :param documents: How many documents there are.
    :param vectors: How many vectors the FAISS file holds, those of deleted documents included.
    :param saved_at: When it was saved, in UTC and ISO form.
    :param saved_with: Versions of the software that saved it, by name.
    """

    generation: int
    documents: int
    vectors: int
    settings: IndexSettings
    vectors_file: FileRecord
    documents_file: FileRecord
    saved_at: str
    saved_with: dict[str, str]

    @property
    def files(self) -> tuple[FileRecord, FileRecord]:
        """The files beside the manifest."""
        return self.vectors_file, self.documents_file

    def to_bytes(self) -> bytes:
        """Write the manifest as JSON, with a checksum of itself."""
        fields = {"kind_of_file": _KIND_OF_FILE, "format": FORMAT, **asdict(self)}
        return _as_json({**fields, "checksum": hashlib.sha256(_as_json(fields)).hexdigest()})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest of a folder.

        :raises IndexFolderError: If there is none, or it is damaged, of something else, or of a newer version.
        """
        path = folder / MANIFEST_NAME
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise IndexFolderError(f"there is no index in {folder}: it has no {MANIFEST_NAME}") from None
        fields = _parsed(path, content)
        try:
            manifest = cls._from_fields(fields)
        except (KeyError, TypeError, ValueError) as error:
            raise _not_readable(path, error) from error
        if manifest.to_bytes() != content:
            raise IndexFolderError(f"{path} is damaged: its checksum does not agree; {_DAMAGED}")
        return manifest

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Self:
        known = {name: fields[name] for name in cls.__slots__}
        known["settings"] = IndexSettings.from_dict(known["settings"])
        for name in ("vectors_file", "documents_file"):
            known[name] = FileRecord(**known[name])
        return cls(**known)


class Saved(NamedTuple):
    """What was saved last, and the revision of the documents that it is of; see `DenseIndex.revision`."""

    manifest: Manifest
    revision: int


def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(content)
    except ValueError as error:
        raise _not_readable(path, error) from error
    if not isinstance(fields, dict) or fields.get("kind_of_file") != _KIND_OF_FILE:
        raise IndexFolderError(f"{path} is not the manifest of a dense index, or is damaged; {_DAMAGED}")
    written = fields.get("format")
    if isinstance(written, int) and written > FORMAT:
        raise IndexFolderError(
            f"{path} has the format {written}, and this version reads up to {FORMAT}; update fr-reranker-plugin"
        )
    return fields


def _not_readable(path: Path, error: Exception) -> IndexFolderError:
    return IndexFolderError(f"{path} is damaged: it cannot be read ({type(error).__name__}: {error}); {_DAMAGED}")


def _as_json(fields: dict[str, Any]) -> bytes:
    return (json.dumps(fields, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
