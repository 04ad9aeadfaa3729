"""Search a French index, over REST and as a tool for agents (MCP).

fr-reranker index my-index examples/sample_collection
export FR_RERANKER_INDEX=my-index
hayhooks run --pipelines-dir examples/hayhooks          # REST: POST /search/run {"question": "...", "top_k": 3}
hayhooks mcp run --pipelines-dir examples/hayhooks      # MCP: http://localhost:1417/mcp, tool `search`
"""

import os
from typing import Any

from hayhooks import BasePipelineWrapper
from haystack import Pipeline

from fr_reranker_plugin.haystack import FaissDocumentStore, FrenchCrossEncoderRanker, FrenchRetrieveAndRerank


class PipelineWrapper(BasePipelineWrapper):
    """Opens the index beside whoever writes to it, and loads both models, when it is deployed."""

    def setup(self) -> None:
        store = FaissDocumentStore.load(os.environ.get("FR_RERANKER_INDEX", "my-index"), read_only=True)
        ranker = FrenchCrossEncoderRanker(model="embedded", first_stage_weight=0.5, return_embedding=False)
        self.pipeline = Pipeline()
        self.pipeline.add_component("search", FrenchRetrieveAndRerank(document_store=store, ranker=ranker))
        self.pipeline.warm_up()

    async def run_api_async(self, question: str, top_k: int = 5) -> dict[str, list[dict[str, Any]]]:
        """Find the passages that answer a question about public life in France.

        :param question: The question, in French, as a person would ask it.
        :param top_k: Most passages to return.
        """
        answer = await self.pipeline.run_async({"search": {"query": question, "top_k": top_k}})
        found = answer["search"]["documents"]
        return {
            "passages": [{"id": one.id, "score": one.score, "content": one.content, "meta": one.meta} for one in found]
        }
