"""The vectors of a corpus on disk: shards, each whole or absent, and a manifest that says what made them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np

from fr_reranker_plugin.errors import IndexFolderError
from fr_reranker_plugin.retrieval.documents import StoredDocument, canonical_json
from fr_reranker_plugin.retrieval.durable_files import flush, replace_file
from fr_reranker_plugin.retrieval.encoder_identity import EncoderIdentity
from fr_reranker_plugin.retrieval.index_manifest import FileRecord
from fr_reranker_plugin.retrieval.vectors import Vectors

_MANIFEST: Final = "corpus.json"
_KIND_OF_FILE: Final = "fr-reranker encoded corpus"
_FORMAT: Final = 1
_AGAIN: Final = "restore it from a copy, or encode into another folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """A shard that is on disk.

    :param documents: How many it has.
    :param fingerprint: SHA-256 of their ids and texts, in order.
    """

    documents: int
    fingerprint: str
    ids: FileRecord
    vectors: FileRecord


class Shard(NamedTuple):
    """Consecutive documents: their ids, and their unit vectors of shape (n, dimension)."""

    ids: list[str]
    vectors: Vectors


class EncodedCorpus:
    """A folder of vectors in the order of the corpus, written by `encode_corpus`.

    :param folder: The folder.
    :param encoder: What made the vectors.
    :param documents_per_shard: Documents of every shard but the last.
    :param records: The shards that are on disk, in order.
    :param is_complete: Whether the corpus ended with the last of them.
    """

    def __init__(
        self,
        folder: Path,
        encoder: EncoderIdentity,
        documents_per_shard: int,
        *,
        records: Sequence[ShardRecord] = (),
        is_complete: bool = False,
    ) -> None:
        self.folder, self.encoder, self.documents_per_shard = folder, encoder, documents_per_shard
        self.records = list(records)
        self.is_complete = is_complete

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Read what is in a folder; a corpus that is not encoded to its end may be opened too.

        :raises IndexFolderError: If there is no corpus, or its files are damaged.
        """
        path = Path(folder)
        fields = _read_sealed(path / _MANIFEST)
        try:
            encoder = EncoderIdentity(**fields["encoder"])
            complete: int | None = fields["complete"]
            corpus = cls(path, encoder, fields["documents_per_shard"], is_complete=complete is not None)
        except (KeyError, TypeError, ValueError) as error:
            raise IndexFolderError(f"{path / _MANIFEST} is damaged ({error}); {_AGAIN}") from error
        while (record := corpus._record_of(len(corpus.records))) is not None:
            corpus.records.append(record)
        if complete is not None and complete != len(corpus.records):
            raise IndexFolderError(f"{path}: expected {complete} shards, found {len(corpus.records)}; {_AGAIN}")
        for record in corpus.records:
            for file in (record.ids, record.vectors):
                file.check(path, contents=False)
        return corpus

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Tell whether a corpus was begun in a folder."""
        return (folder / _MANIFEST).exists()

    def __len__(self) -> int:
        """Count the documents on disk."""
        return sum(record.documents for record in self.records)

    def shards(self) -> Iterator[Shard]:
        """Yield the shards in order, one in memory at a time.

        :raises IndexFolderError: If a file is not the one that was written.
        """
        for record in self.records:
            for file in (record.ids, record.vectors):
                file.check(self.folder, contents=True)
            ids = json.loads((self.folder / record.ids.name).read_text(encoding="utf-8"))
            yield Shard(ids, np.load(self.folder / record.vectors.name, allow_pickle=False))

    def append(self, documents: Sequence[StoredDocument], vectors: Vectors) -> None:
        """Write the next shard; it counts from when its record is there."""
        number = len(self.records)
        ids, rows = self.folder / f"ids-{number:06d}.json", self.folder / f"vectors-{number:06d}.npy"
        ids.write_text(canonical_json([document.id for document in documents]), encoding="utf-8")
        np.save(rows, vectors, allow_pickle=False)
        for path in (ids, rows):
            flush(path)
        record = ShardRecord(
            documents=len(documents),
            fingerprint=fingerprint(documents),
            ids=FileRecord.of(ids),
            vectors=FileRecord.of(rows),
        )
        replace_file(self._record_path(number), _sealed(asdict(record)))
        self.records.append(record)

    def save(self, *, complete: bool) -> None:
        """Write the manifest."""
        self.is_complete = complete
        fields = {
            "encoder": self.encoder.to_dict(),
            "documents_per_shard": self.documents_per_shard,
            "complete": len(self.records) if complete else None,
        }
        replace_file(self.folder / _MANIFEST, _sealed(fields))

    def _record_path(self, number: int) -> Path:
        return self.folder / f"shard-{number:06d}.json"

    def _record_of(self, number: int) -> ShardRecord | None:
        path = self._record_path(number)
        if not path.exists():
            return None
        fields = _read_sealed(path)
        try:
            files = {name: FileRecord(**fields[name]) for name in ("ids", "vectors")}
            return ShardRecord(documents=fields["documents"], fingerprint=fields["fingerprint"], **files)
        except (KeyError, TypeError) as error:
            raise IndexFolderError(f"{path} is damaged ({error}); {_AGAIN}") from error


def fingerprint(documents: Sequence[StoredDocument]) -> str:
    """Give the SHA-256 of ids and texts, in order; metadata do not change a vector."""
    lines = (canonical_json([document.id, document.text]) for document in documents)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _sealed(fields: dict[str, Any]) -> bytes:
    """Write JSON with a checksum of itself."""
    fields = {"kind_of_file": _KIND_OF_FILE, "format": _FORMAT, **fields}
    checksum = hashlib.sha256(canonical_json(fields).encode()).hexdigest()
    return canonical_json({**fields, "checksum": checksum}).encode()


def _read_sealed(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise IndexFolderError(f"there is no encoded corpus in {path.parent}: it has no {path.name}") from None
    try:
        fields = json.loads(content)
        kind, written = fields.pop("kind_of_file"), fields.pop("format")
        fields.pop("checksum")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IndexFolderError(f"{path} is damaged: it cannot be read ({error}); {_AGAIN}") from error
    if kind != _KIND_OF_FILE or not isinstance(written, int) or written > _FORMAT:
        raise IndexFolderError(f"{path}: expected {_KIND_OF_FILE!r} up to format {_FORMAT}, found {kind!r}, {written}")
    if _sealed(fields) != content:
        raise IndexFolderError(f"{path} is damaged: its checksum does not agree; {_AGAIN}")
    return dict(fields)
