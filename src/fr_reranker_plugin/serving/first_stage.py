"""Finding candidates in an index: a folder beside whoever writes to it, or the sample collection in memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fr_reranker_plugin.collections import load_collection, sample_folder
from fr_reranker_plugin.errors import IndexClosedError, IndexFolderError
from fr_reranker_plugin.retrieval.index_threads import in_index_thread
from fr_reranker_plugin.scoring.settings import EMBEDDED, ModelSettings

if TYPE_CHECKING:
    from fr_reranker_plugin.retrieval.document_index import DocumentIndex, SearchMethod
    from fr_reranker_plugin.retrieval.documents import Hit
    from fr_reranker_plugin.retrieval.shared_encoder import SharedEncoder

logger = logging.getLogger(__name__)

_ENCODED_AT_ONCE: Final = 32


class Searched(NamedTuple):
    """How many documents there are, and the model that encoded them."""

    documents: int
    encoder: str


class FirstStage:
    """The documents of an index folder, read-only; what its writer saves is found from then on.

    :param folder: Where the index is.
    :param model: The cross-encoder that reranks: the bi-encoder runs on its device, the first of several, and asks the
        Hub no more than it does.
    :ivar questions: Questions to try, where they are known.
    """

    questions: Sequence[str] = ()

    def __init__(self, folder: Path | str, model: ModelSettings) -> None:
        self._folder = folder
        self._device, self._local_files_only = model.devices[0], model.local_files_only
        self._index: DocumentIndex | None = None

    async def warm_up(self) -> None:
        """Open the index, load its bi-encoder and find something once.

        :raises IndexFolderError: If there is no index, or it is damaged.
        :raises ModelLoadError: If the encoder cannot be loaded.
        """
        await in_index_thread(self._warm_up)

    async def search(
        self, question: str, k: int, *, method: SearchMethod, filters: Mapping[str, Any] | None
    ) -> list[Hit]:
        """Find the `k` best documents for a question; see `DocumentIndex.search`."""

        def find(index: DocumentIndex) -> list[Hit]:
            _follow(index)
            return index.search(question, k, method=method, filters=None if filters is None else dict(filters))

        return await in_index_thread(find, self._opened())

    async def searched(self) -> Searched:
        """Tell what is searched."""

        def look(index: DocumentIndex) -> Searched:
            _follow(index)
            return Searched(len(index), index.encoder.identity.model)

        return await in_index_thread(look, self._opened())

    def close(self) -> None:
        """Give up files and memory."""
        if self._index is not None:
            self._index.close()

    def _opened(self) -> DocumentIndex:
        assert self._index is not None, "readiness is checked before"  # noqa: S101 -- ours to keep
        return self._index

    def _warm_up(self) -> None:
        index = self._open()
        index.search("Où déclarer une naissance ?", 1)
        self._index = index

    def _open(self) -> DocumentIndex:
        from fr_reranker_plugin.retrieval.document_index import DocumentIndex

        return DocumentIndex.open(
            self._folder, read_only=True, device=self._device, local_files_only=self._local_files_only
        )


class SampleFirstStage(FirstStage):
    """The passages of the sample collection, encoded by the embedded bi-encoder when the server starts.

    :raises CollectionError: If this installation has no sample collection.
    """

    def __init__(self, model: ModelSettings) -> None:
        super().__init__(sample_folder(), model)
        self._collection = load_collection(self._folder)
        self._encoder: SharedEncoder | None = None
        self._is_closed = False
        self.questions = tuple(self._collection.queries.values())

    def close(self) -> None:
        """Give up memory, and stop encoding."""
        self._is_closed = True
        super().close()
        if self._encoder is not None:
            self._encoder.close()

    def _open(self) -> DocumentIndex:
        from fr_reranker_plugin.retrieval.document_index import DocumentIndex
        from fr_reranker_plugin.retrieval.documents import StoredDocument
        from fr_reranker_plugin.retrieval.shared_encoder import SharedEncoder

        self._encoder = SharedEncoder(ModelSettings(model=EMBEDDED, device=self._device))
        index = DocumentIndex.create(None, self._encoder)
        passages = iter(self._collection.corpus.items())
        while some := list(islice(passages, _ENCODED_AT_ONCE)):
            if self._is_closed:
                raise IndexClosedError("the server was told to stop while the sample collection was being encoded")
            index.add([StoredDocument(name, one.full_text, {"title": one.title}) for name, one in some])
        return index


def _follow(index: DocumentIndex) -> None:
    """Read what the writer saved; where that cannot be read, what was open stays in use."""
    try:
        index.reload()
    except IndexFolderError as error:
        logger.warning("the index could not be read anew, and is used as it was: %s", error)
