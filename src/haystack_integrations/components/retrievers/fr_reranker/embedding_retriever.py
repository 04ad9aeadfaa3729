"""The retriever: from the embedding of a question to documents."""

from typing import Any, Self

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.document_stores.types import FilterPolicy

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.settings import check_whole_number
from haystack_integrations.components.rankers.fr_reranker.checks import check_flag
from haystack_integrations.document_stores.fr_reranker import FaissDocumentStore


@component
class FaissEmbeddingRetriever:
    """Finds the documents of a `FaissDocumentStore` whose embeddings are nearest to that of a question.

    ```python
    from haystack import Document
    from haystack_integrations.components.retrievers.fr_reranker import FaissEmbeddingRetriever
    from haystack_integrations.document_stores.fr_reranker import FaissDocumentStore

    store = FaissDocumentStore(embedding_dim=2)
    store.write_documents([Document(content="La mairie ouvre à 9 h.", embedding=[0.6, 0.8])])
    documents = FaissEmbeddingRetriever(document_store=store).run(query_embedding=[1.0, 0.0])["documents"]
    ```
    """

    def __init__(
        self,
        document_store: FaissDocumentStore,
        *,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        return_embedding: bool = False,
        filter_policy: FilterPolicy | str = FilterPolicy.REPLACE,
    ) -> None:
        """Note and check the parameters; the store is not opened.

        :param document_store: Where to search.
        :param filters: What may be found.
        :param top_k: Most documents to return, at least 1.
        :param return_embedding: Whether the documents that are found carry their embeddings.
        :param filter_policy: `"replace"`: filters given at run time take the place of these. `"merge"`: what is found
            matches both, whatever is given at run time.
        :raises SettingsError: If a value is not allowed. It is a `ValueError`.
        :raises TypeError: If the store is of another class.
        """
        if not isinstance(document_store, FaissDocumentStore):
            raise TypeError(f"document_store must be a FaissDocumentStore, got {type(document_store).__name__}")
        if filters is not None and not isinstance(filters, dict):
            raise SettingsError(f"filters must be a dictionary or None, got {type(filters).__name__}")
        check_flag("return_embedding", return_embedding)
        self.document_store = document_store
        self.filters = filters
        self.top_k = check_whole_number("top_k", top_k)
        self.return_embedding = return_embedding
        self.filter_policy = FilterPolicy.from_str(str(filter_policy))

    def warm_up(self) -> None:
        """Open the store unless it is open.

        :raises IndexFolderError: If it cannot be opened, or holds another index than the one described.
        """
        self.document_store.warm_up()

    async def warm_up_async(self) -> None:
        """Open the store without blocking the event loop; see `warm_up`."""
        await self.document_store.warm_up_async()

    def close(self) -> None:
        """Close the store; see `FaissDocumentStore.close`. A later run opens it again."""
        self.document_store.close()

    async def close_async(self) -> None:
        """Close the store without blocking the event loop; see `close`."""
        await self.document_store.close_async()

    @component.output_types(documents=list[Document])
    def run(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        return_embedding: bool | None = None,  # noqa: FBT001 -- positional like the other retrievers
    ) -> dict[str, list[Document]]:
        """Find the nearest documents.

        :param query_embedding: The embedding of the question; its length does not matter.
        :param filters: What may be found; see `filter_policy`.
        :param top_k: Most documents to return; replaces the value given at construction.
        :param return_embedding: Whether they carry their embeddings; replaces the value given at construction.
        :returns: A dictionary with the key `documents`: best first, with the cosine in -1..1 as score.
        :raises SettingsError: If an argument is not allowed. It is a `ValueError`.
        """
        search = self._search(filters, top_k, return_embedding)
        return {"documents": self.document_store.embedding_retrieval(query_embedding, **search)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        return_embedding: bool | None = None,  # noqa: FBT001 -- positional like the other retrievers
    ) -> dict[str, list[Document]]:
        """Find the nearest documents without blocking the event loop; like `run` otherwise."""
        search = self._search(filters, top_k, return_embedding)
        return {"documents": await self.document_store.embedding_retrieval_async(query_embedding, **search)}

    def to_dict(self) -> dict[str, Any]:
        """Give the class and its parameters as plain values; the store by its parameters."""
        return default_to_dict(
            self,
            document_store=self.document_store,
            filters=self.filters,
            top_k=self.top_k,
            return_embedding=self.return_embedding,
            filter_policy=self.filter_policy.value,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make a retriever from what `to_dict` gave."""
        return default_from_dict(cls, data)

    def _search(
        self,
        filters: dict[str, Any] | None,
        top_k: int | None,
        return_embedding: bool | None,  # noqa: FBT001 -- as `run` has it
    ) -> dict[str, Any]:
        return {
            "filters": self._filters_with(filters),
            "top_k": self.top_k if top_k is None else top_k,
            "return_embedding": self.return_embedding if return_embedding is None else return_embedding,
        }

    def _filters_with(self, given: dict[str, Any] | None) -> dict[str, Any] | None:
        # Haystack's apply_filter_policy drops our filter where the given one has another operator or the same field.
        if self.filter_policy == FilterPolicy.MERGE and self.filters and given:
            return {"operator": "AND", "conditions": [self.filters, given]}
        return given or self.filters

    def _get_telemetry_data(self) -> dict[str, Any]:
        """Give Haystack's usage statistics the name of the store's class."""
        return {"document_store": type(self.document_store).__name__}
