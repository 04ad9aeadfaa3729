"""Retrieval with reranking as one component: from a question to the documents that answer it best."""

from typing import Any, Self

from haystack import Pipeline, default_from_dict, default_to_dict, super_component
from haystack.document_stores.types import FilterPolicy

from haystack_integrations.components.embedders.fr_reranker import FrenchTextEmbedder
from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker
from haystack_integrations.components.retrievers.fr_reranker.embedding_retriever import FaissEmbeddingRetriever
from haystack_integrations.document_stores.fr_reranker import FaissDocumentStore


@super_component
class FrenchRetrieveAndRerank:
    """Finds the documents that answer a French question best: a bi-encoder proposes candidates, a cross-encoder ranks.

    Inputs: `query`, and per call `filters` and `top_k`. Output: `documents`, the most relevant first, without their
    embeddings; the cosine of the first stage is kept in the metadata where the ranker has a `score_meta_field`.

    ```python
    from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker
    from haystack_integrations.components.retrievers.fr_reranker import FrenchRetrieveAndRerank
    from haystack_integrations.document_stores.fr_reranker import FaissDocumentStore

    search = FrenchRetrieveAndRerank(
        document_store=FaissDocumentStore(), ranker=FrenchCrossEncoderRanker(model="embedded")
    )
    documents = search.run(query="Où demander un acte de naissance ?", top_k=3)["documents"]
    ```
    """

    def __init__(
        self,
        *,
        document_store: FaissDocumentStore,
        text_embedder: FrenchTextEmbedder | None = None,
        ranker: FrenchCrossEncoderRanker | None = None,
        retriever_top_k: int = 50,
        filters: dict[str, Any] | None = None,
        filter_policy: FilterPolicy | str = FilterPolicy.REPLACE,
    ) -> None:
        """Connect the three components; nothing is opened, read or loaded.

        :param document_store: Where to search; its embeddings come from a `FrenchDocumentEmbedder` of the same model.
            Where the index names its encoder, warming up and running raise an `IndexFolderError` for another one.
        :param text_embedder: Embeds the question; `None`: the small bi-encoder inside this package.
        :param ranker: Ranks the candidates; `None`: the reference model.
        :param retriever_top_k: How many candidates are ranked.
        :param filters: What may be found.
        :param filter_policy: `"replace"`: filters given at run time take the place of these. `"merge"`: what is found
            matches both, whatever is given at run time.
        :raises SettingsError: If a value is not allowed. It is a `ValueError`.
        """
        self.document_store = document_store
        self.text_embedder = FrenchTextEmbedder() if text_embedder is None else text_embedder
        self.ranker = FrenchCrossEncoderRanker() if ranker is None else ranker
        self.retriever_top_k = retriever_top_k
        self.filters = filters
        self.filter_policy = FilterPolicy.from_str(str(filter_policy))
        self.pipeline = self._connected()
        self.input_mapping = {
            "query": ["text_embedder.text", "ranker.query"],
            "filters": ["embedding_retriever.filters"],
            "top_k": ["ranker.top_k"],
        }
        self.output_mapping = {"ranker.documents": "documents"}

    def to_dict(self) -> dict[str, Any]:
        """Give the class and its parameters as plain values; the components by theirs."""
        return default_to_dict(
            self,
            document_store=self.document_store,
            text_embedder=self.text_embedder,
            ranker=self.ranker,
            retriever_top_k=self.retriever_top_k,
            filters=self.filters,
            filter_policy=self.filter_policy.value,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the component from what `to_dict` gave."""
        return default_from_dict(cls, data)

    def _connected(self) -> Pipeline:
        """Connect the first stage to the ranker, which takes candidates from any number of retrievers."""
        retriever = FaissEmbeddingRetriever(
            self.document_store, filters=self.filters, top_k=self.retriever_top_k, filter_policy=self.filter_policy
        )
        pipeline = _SearchPipeline(self.document_store, self.text_embedder)
        pipeline.add_component("text_embedder", self.text_embedder)
        pipeline.add_component("embedding_retriever", retriever)
        pipeline.add_component("ranker", self.ranker)
        pipeline.connect("text_embedder.embedding", "embedding_retriever.query_embedding")
        pipeline.connect("embedding_retriever.documents", "ranker.documents")
        return pipeline


class _SearchPipeline(Pipeline):
    """Warms up as each pipeline does before it runs, and then compares the encoder of the question with the store's."""

    def __init__(self, document_store: FaissDocumentStore, text_embedder: FrenchTextEmbedder) -> None:
        super().__init__()
        self._document_store = document_store
        self._text_embedder = text_embedder

    def warm_up(self) -> None:
        super().warm_up()
        self._document_store.check_encoder(self._text_embedder.identity)

    async def warm_up_async(self) -> None:
        await super().warm_up_async()
        self._document_store.check_encoder(self._text_embedder.identity)
