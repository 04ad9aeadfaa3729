"""Rank passages of the caller's own, over REST and as a tool for agents (MCP).

hayhooks run --pipelines-dir examples/hayhooks          # REST: POST /rerank/run
hayhooks mcp run --pipelines-dir examples/hayhooks      # MCP: http://localhost:1417/mcp, tool `rerank`
"""

from typing import Any

from hayhooks import BasePipelineWrapper
from haystack import Pipeline

from fr_reranker_plugin.haystack import FrenchCrossEncoderRanker


class PipelineWrapper(BasePipelineWrapper):
    """Loads the model when it is deployed, so that the first request does not wait for it."""

    def setup(self) -> None:
        self.pipeline = Pipeline()
        self.pipeline.add_component("ranker", FrenchCrossEncoderRanker(model="embedded", return_embedding=False))
        self.pipeline.warm_up()

    async def run_api_async(
        self, query: str, passages: list[str | dict[str, Any]], top_k: int = 10
    ) -> dict[str, list[dict[str, Any]]]:
        """Rank French passages by how well they answer a question.

        :param query: The question, in French.
        :param passages: Texts, or documents with `content` and, if you like, `id` and `meta`.
        :param top_k: Most passages to return.
        """
        documents = [{"content": passage} if isinstance(passage, str) else passage for passage in passages]
        inputs = {"query": query, "documents": documents, "top_k": top_k}
        answer = await self.pipeline.run_async({"ranker": inputs})
        # a dictionary: Hayhooks gives MCP clients anything else as Python would print it
        return {"documents": [document.to_dict() for document in answer["ranker"]["documents"]]}
