"""Writing documents with their vectors into an open index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fr_reranker_plugin.errors import DuplicateDocumentError
from fr_reranker_plugin.retrieval.documents import StoredDocument, check_documents
from fr_reranker_plugin.retrieval.index_store import IndexStore
from fr_reranker_plugin.retrieval.vectors import OptionalVectors, split_vectors

_ADDED_AT_ONCE: Final = 1024
"""Vectors are added in steps, so that searches get their turn in between."""


def write_documents(
    store: IndexStore, documents: Sequence[StoredDocument], vectors: OptionalVectors, *, replace: bool
) -> None:
    """Append vectors, which are not found until their documents are written: what fails before adds nothing.

    See `DenseIndex.add`.

    :param replace: Replace documents with the same id, rather than refuse them.
    """
    rows = check_documents(documents)
    has_vector, matrix = split_vectors(vectors, count=len(rows), dimension=store.settings.dimension)
    with store.changing() as contents:
        taken = {} if replace else contents.database.places([row.id for row in rows])
        if taken:
            raise DuplicateDocumentError(
                f"the id {min(taken)!r} is taken ({len(taken)} of {len(rows)} are); use upsert to replace documents"
            )
        for start in range(0, len(matrix), _ADDED_AT_ONCE):
            with store.alone():
                contents.append(matrix[start : start + _ADDED_AT_ONCE])
        trained = contents.vectors.trained(contents.exact_vectors)
        with store.alone():
            contents.write(rows, has_vector)
            contents.vectors = trained or contents.vectors
