"""A folder that holds one lexical index at a time: a save writes a new subfolder, then replaces the manifest."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

from fr_reranker_plugin.errors import IndexFolderError
from fr_reranker_plugin.retrieval.durable_files import flush, flush_folder, replace_file
from fr_reranker_plugin.retrieval.index_manifest import MANIFEST_NAME, FileRecord

FORMAT: Final = 1
_KIND_OF_FILE: Final = "fr-reranker lexical index"
_GENERATION: Final = "bm25-"
_SAVED_WITH: Final = ("fr-reranker-plugin", "bm25s", "PyStemmer")
_ABANDONED_AFTER: Final = 24 * 3600.0
"""Seconds after which files that no manifest names are those of a save that was killed, not of one at work."""
_DAMAGED: Final = "restore it from a copy, or index the documents again"

Index = TypeVar("Index")


def save_generation(folder: Path, facts: Mapping[str, Any], write: Callable[[Path], None]) -> None:
    """Make what `write` writes the index of `folder`, all or nothing.

    :param facts: What the reader is told, as JSON values.
    :param write: Puts files into the empty folder it gets.
    :raises IndexFolderError: If the folder cannot be written to, or holds something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = _read_manifest(folder) if (folder / MANIFEST_NAME).exists() else None
        made = folder / f"{_GENERATION}{uuid4().hex[:12]}"
        made.mkdir()
        write(made)
        replace_file(folder / MANIFEST_NAME, _manifest(made, facts))
    except OSError as error:
        raise IndexFolderError(f"the index could not be saved in {folder}: {error}") from error
    _clean(folder, keep=made.name, replaced=None if before is None else before["generation"])


def load_generation(folder: Path, read: Callable[[Path, Mapping[str, Any]], Index]) -> Index:
    """Give what `read` makes of the index of `folder`; begin again if it is replaced meanwhile.

    :param read: Gets the folder with the files, which are those that were saved, and the facts.
    :raises IndexFolderError: If there is no index, or a file of it is missing, damaged or of a newer version.
    """
    manifest = _read_manifest(folder)
    while True:
        generation = folder / manifest["generation"]
        try:
            for record in manifest["files"]:
                FileRecord(**record).check(generation, contents=True)
            return read(generation, manifest["facts"])
        except (IndexFolderError, FileNotFoundError):
            newer = _read_manifest(folder)
            if newer == manifest:
                raise
            manifest = newer


def _manifest(made: Path, facts: Mapping[str, Any]) -> bytes:
    """Describe the files of a generation, once the disk has them."""
    paths = sorted(made.iterdir())
    for path in paths:
        flush(path)
    flush_folder(made)
    fields = {
        "kind_of_file": _KIND_OF_FILE,
        "format": FORMAT,
        "generation": made.name,
        "facts": facts,
        "files": [asdict(FileRecord.of(path)) for path in paths],
        "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "saved_with": {package: version(package) for package in _SAVED_WITH},
    }
    return _as_json({**fields, "checksum": hashlib.sha256(_as_json(fields)).hexdigest()})


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_NAME
    try:
        manifest = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise IndexFolderError(f"there is no lexical index in {folder}: it has no {MANIFEST_NAME}") from None
    except ValueError as error:
        raise IndexFolderError(f"{path} is damaged: it is no JSON ({error}); {_DAMAGED}") from None
    if not isinstance(manifest, dict) or manifest.get("kind_of_file") != _KIND_OF_FILE:
        raise IndexFolderError(f"{path} is not the manifest of a lexical index; choose another folder")
    if manifest.get("format") != FORMAT:
        raise IndexFolderError(
            f"{path} has the format {manifest.get('format')}, and this version reads {FORMAT}; "
            "update fr-reranker-plugin, or index the documents again"
        )
    checksum = manifest.pop("checksum", None)
    if hashlib.sha256(_as_json(manifest)).hexdigest() != checksum:
        raise IndexFolderError(f"{path} is damaged: its checksum does not agree; {_DAMAGED}")
    return manifest


def _clean(folder: Path, *, keep: str, replaced: str | None) -> None:
    """Remove the generation that was replaced, and those of saves that were killed."""
    for path in folder.glob(f"{_GENERATION}*"):
        abandoned = path.name == replaced or time.time() - path.stat().st_mtime > _ABANDONED_AFTER
        if abandoned and path.name != keep:
            shutil.rmtree(path, ignore_errors=True)


def _as_json(fields: Mapping[str, Any]) -> bytes:
    return (json.dumps(fields, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()
