"""The document store: waiting or asynchronous, over one index."""

from pathlib import Path
from typing import Any

from haystack import Document
from haystack.document_stores.types import DuplicatePolicy

from fr_reranker_plugin.retrieval.index_threads import in_change_thread, in_index_thread
from haystack_integrations.document_stores.fr_reranker.synchronous import SynchronousStore


class FaissDocumentStore(SynchronousStore):
    """Unit vectors in FAISS and documents in SQLite, together in one folder.

    Scores are cosines in -1..1, higher is better, whatever the kind of index; filters are exact. What is written can be
    found at once; it is on disk after `save`, which changes everything or nothing. One process writes to a folder; any
    number read it with `read_only=True`.

    ```python
    from haystack import Document
    from haystack_integrations.document_stores.fr_reranker import FaissDocumentStore

    store = FaissDocumentStore(embedding_dim=2)
    store.write_documents([Document(content="La mairie ouvre à 9 h.", embedding=[0.6, 0.8])])
    best = store.embedding_retrieval([1.0, 0.0], top_k=1)[0]
    ```
    """

    async def warm_up_async(self) -> None:
        """Open the index without blocking the event loop; see `warm_up`."""
        await in_index_thread(self.warm_up)

    async def count_documents_async(self) -> int:
        """Count the documents without blocking the event loop."""
        return await in_index_thread(self.count_documents)

    async def filter_documents_async(self, filters: dict[str, Any] | None = None) -> list[Document]:
        """Give the documents that match, without blocking the event loop; see `filter_documents`."""
        return await in_index_thread(self.filter_documents, filters)

    async def write_documents_async(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """Write documents without blocking the event loop; see `write_documents`."""
        return await in_change_thread(self.write_documents, documents, policy)

    async def delete_documents_async(self, document_ids: list[str]) -> None:
        """Delete documents without blocking the event loop; see `delete_documents`."""
        await in_change_thread(self.delete_documents, document_ids)

    async def delete_all_documents_async(self) -> None:
        """Delete every document without blocking the event loop."""
        await in_change_thread(self.delete_all_documents)

    async def delete_by_filter_async(self, filters: dict[str, Any]) -> int:
        """Delete the documents that match, without blocking the event loop; see `delete_by_filter`."""
        return await in_change_thread(self.delete_by_filter, filters)

    async def update_by_filter_async(self, filters: dict[str, Any], meta: dict[str, Any]) -> int:
        """Set metadata keys without blocking the event loop; see `update_by_filter`."""
        return await in_change_thread(self.update_by_filter, filters, meta)

    async def count_documents_by_filter_async(self, filters: dict[str, Any]) -> int:
        """Count the documents that match, without blocking the event loop."""
        return await in_index_thread(self.count_documents_by_filter, filters)

    async def count_unique_metadata_by_filter_async(
        self, filters: dict[str, Any], metadata_fields: list[str]
    ) -> dict[str, int]:
        """Count different values without blocking the event loop; see `count_unique_metadata_by_filter`."""
        return await in_index_thread(self.count_unique_metadata_by_filter, filters, metadata_fields)

    async def get_metadata_fields_info_async(self) -> dict[str, dict[str, str]]:
        """Give the type of each field without blocking the event loop; see `get_metadata_fields_info`."""
        return await in_index_thread(self.get_metadata_fields_info)

    async def get_metadata_field_min_max_async(self, metadata_field: str) -> dict[str, Any]:
        """Give the bounds of a field without blocking the event loop; see `get_metadata_field_min_max`."""
        return await in_index_thread(self.get_metadata_field_min_max, metadata_field)

    async def get_metadata_field_unique_values_async(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: dict[str, Any] | None = None,
    ) -> tuple[list[Any], int]:
        """Give different values without blocking the event loop; see `get_metadata_field_unique_values`."""
        return await in_index_thread(
            self.get_metadata_field_unique_values, metadata_field, search_term, from_, size, filters
        )

    async def embedding_retrieval_async(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        return_embedding: bool | None = None,  # noqa: FBT001 -- as other stores have it
    ) -> list[Document]:
        """Find the nearest documents without blocking the event loop; see `embedding_retrieval`."""
        return await in_index_thread(self.embedding_retrieval, query_embedding, filters, top_k, return_embedding)

    async def save_async(self, folder: str | Path | None = None) -> None:
        """Put everything on disk without blocking the event loop; see `save`."""
        await in_change_thread(self.save, folder)

    async def reload_async(self) -> bool:
        """Follow the writer of the folder without blocking the event loop; see `reload`."""
        return await in_change_thread(self.reload)

    async def close_async(self) -> None:
        """Close without blocking the event loop; see `close`."""
        await in_change_thread(self.close)
