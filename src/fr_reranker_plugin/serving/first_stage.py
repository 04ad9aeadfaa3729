"""Finding candidates in an index folder, beside whoever writes to it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fr_reranker_plugin.errors import IndexFolderError
from fr_reranker_plugin.retrieval.index_threads import in_index_thread

if TYPE_CHECKING:
    from fr_reranker_plugin.retrieval.document_index import DocumentIndex, SearchMethod
    from fr_reranker_plugin.retrieval.documents import Hit

logger = logging.getLogger(__name__)


class FirstStage:
    """The documents of an index folder, read-only; what its writer saves is found from then on.

    :param folder: Where the index is.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = folder
        self._index: DocumentIndex | None = None

    async def warm_up(self) -> None:
        """Open the index, load its bi-encoder and find something once.

        :raises IndexFolderError: If there is no index, or it is damaged.
        :raises ModelLoadError: If the encoder cannot be loaded.
        """
        await in_index_thread(self._open)

    async def search(
        self, question: str, k: int, *, method: SearchMethod, filters: Mapping[str, Any] | None
    ) -> list[Hit]:
        """Find the `k` best documents for a question; see `DocumentIndex.search`."""

        def find(index: DocumentIndex) -> list[Hit]:
            _follow(index)
            return index.search(question, k, method=method, filters=None if filters is None else dict(filters))

        return await in_index_thread(find, self._opened())

    def close(self) -> None:
        """Give up files and memory."""
        if self._index is not None:
            self._index.close()

    def _opened(self) -> DocumentIndex:
        assert self._index is not None, "readiness is checked before"  # noqa: S101 -- ours to keep
        return self._index

    def _open(self) -> None:
        from fr_reranker_plugin.retrieval.document_index import DocumentIndex

        index = DocumentIndex.open(self._folder, read_only=True)
        index.search("Où déclarer une naissance ?", 1)
        self._index = index


def _follow(index: DocumentIndex) -> None:
    """Read what the writer saved; where that cannot be read, what was open stays in use."""
    try:
        index.reload()
    except IndexFolderError as error:
        logger.warning("the index could not be read anew, and is used as it was: %s", error)
