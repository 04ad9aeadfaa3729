"""Haystack's documents as the index keeps them, and back."""

import base64
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import numpy as np
from haystack import Document
from haystack.dataclasses import ByteStream, SparseEmbedding
from haystack.document_stores.errors import DuplicateDocumentError as HaystackDuplicateError
from haystack.errors import FilterError as HaystackFilterError

from fr_reranker_plugin.errors import DuplicateDocumentError, FilterError, SettingsError
from fr_reranker_plugin.retrieval.documents import StoredDocument
from fr_reranker_plugin.retrieval.vectors import Vectors

REST: Final = "__haystack__"
"""The metadata key under which the index keeps what is neither text nor metadata of a document."""

_NUMBERS: Final = "biuf"
"""Kinds of numpy arrays; strings that look like numbers are none."""

_UNIT: Final = 1e-6
"""An embedding whose length is nearer to 1 than this is one of length 1."""


@contextmanager
def haystack_errors() -> Iterator[None]:
    """Raise Haystack's own errors for filters and duplicates: those who write to any store catch them.

    :raises haystack.errors.FilterError: If a filter is malformed, or compares what has no order.
    :raises haystack.document_stores.errors.DuplicateDocumentError: If an id is taken.
    """
    try:
        yield
    except FilterError as error:
        raise HaystackFilterError(str(error)) from error
    except DuplicateDocumentError as error:
        raise HaystackDuplicateError(str(error)) from error


def to_stored(document: Document) -> StoredDocument:
    """Give a document as the index keeps it; its embedding goes its own way, see `to_vector`, which checks it first.

    Tuples in its metadata, such as those of Haystack's splitters, become lists.

    :raises SettingsError: If its metadata use the key that is reserved here.
    """
    if REST in document.meta:
        raise SettingsError(f"document {document.id!r} has the metadata key {REST!r}, which is reserved; rename it")
    rest = _rest_of(document)
    metadata = _without_tuples({**document.meta, **({REST: rest} if rest else {})})
    return StoredDocument(document.id, document.content or "", metadata)


def to_vector(embedding: Sequence[float], dimension: int, what: str) -> Vectors:
    """Give an embedding at the length 1, float32, shape (dimension,): cosines do not depend on its length.

    :param what: What the message calls it.
    :raises SettingsError: If it has another dimension, a value that is not finite, or no direction.
    """
    try:
        given = np.asarray(embedding)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{what} must be a list of {dimension} numbers: {error}") from None
    if given.dtype.kind not in _NUMBERS:
        raise SettingsError(f"{what} must be a list of {dimension} numbers, got {embedding!r:.80}")
    vector = given.astype(np.float64)
    if vector.shape != (dimension,):
        raise SettingsError(
            f"{what} must be a list of {dimension} numbers, got the shape {vector.shape}; the store was made with "
            f"embedding_dim={dimension}: use the encoder it is meant for"
        )
    length = np.linalg.norm(vector)
    if not (np.isfinite(length) and length > 0):
        raise SettingsError(f"{what} must be finite and not all zeros: it has no direction to compare")
    unit: Vectors = (vector / length).astype(np.float32)
    return unit


def to_document(stored: StoredDocument, *, score: float | None = None, vector: Vectors | None = None) -> Document:
    """Give a document as it was written.

    :param score: Replaces the one it was written with.
    :param vector: The vector of the document; not-a-number, or `None`, leaves the embedding out.
    """
    meta = dict(stored.metadata)
    rest: dict[str, Any] = meta.pop(REST, {})
    document = Document(
        id=stored.id,
        content=None if rest.get("no_content") else stored.text,
        meta=meta,
        score=rest.get("score") if score is None else score,
        blob=_blob_from(rest["blob"]) if "blob" in rest else None,
        sparse_embedding=SparseEmbedding.from_dict(rest["sparse_embedding"]) if "sparse_embedding" in rest else None,
    )
    if vector is None or np.isnan(vector[0]):
        return document
    embedding = vector.astype(np.float64) * rest.get("embedding_length", 1.0)
    return replace(document, embedding=embedding.tolist())


def _rest_of(document: Document) -> dict[str, Any]:
    rest: dict[str, Any] = {}
    if document.content is None:
        rest["no_content"] = True
    if document.blob is not None:
        blob = document.blob
        data = base64.b64encode(blob.data).decode()
        rest["blob"] = {"data": data, "meta": blob.meta, "mime_type": blob.mime_type}
    if document.score is not None:
        rest["score"] = float(document.score)
    if document.sparse_embedding is not None:
        rest["sparse_embedding"] = document.sparse_embedding.to_dict()
    if document.embedding is not None:
        length = math.hypot(*document.embedding)
        if abs(length - 1) > _UNIT:
            rest["embedding_length"] = length
    return rest


def _without_tuples(value: Any) -> Any:  # noqa: ANN401 -- any JSON value
    if isinstance(value, dict):
        return {key: _without_tuples(part) for key, part in value.items()}
    return [_without_tuples(part) for part in value] if isinstance(value, (list, tuple)) else value


def _blob_from(saved: dict[str, Any]) -> ByteStream:
    return ByteStream(data=base64.b64decode(saved["data"]), meta=saved["meta"], mime_type=saved["mime_type"])
