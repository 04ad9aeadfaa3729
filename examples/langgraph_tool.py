"""Give a LangGraph agent a French search tool: it asks the reranker's retriever, and answers from what it finds.

pip install -c constraints.txt '.[langchain,faiss]' langchain-classic langgraph
python examples/langgraph_tool.py "Comment refaire une carte d'identité volée ?"

Runs offline: a scripted model stands where a language model would. Any chat model that calls tools takes its place.
"""

import sys
from pathlib import Path
from typing import Any

from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, create_retriever_tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from fr_reranker_plugin import LexicalIndex, StoredDocument
from fr_reranker_plugin.collections import load_collection
from fr_reranker_plugin.langchain import FrenchCrossEncoderReranker

COLLECTION = Path(__file__).parent / "sample_collection"
QUESTION = "Comment refaire une carte d'identité volée ?"


class ScriptedModel(BaseChatModel):
    """Searches for what it was asked, then repeats the start of the best passage, with its source."""

    def bind_tools(self, tools: Any, **options: Any) -> "ScriptedModel":  # noqa: ARG002 -- as BaseChatModel has it
        return self

    def _generate(self, messages: list[BaseMessage], *arguments: Any, **options: Any) -> ChatResult:  # noqa: ARG002
        last = messages[-1]
        if isinstance(last, ToolMessage):
            best = last.artifact[0]
            answer = AIMessage(f"{best.page_content.partition('. ')[0]}. [{best.id}]")
        else:
            call = {"name": "chercher", "args": {"query": last.content}, "id": "1"}
            answer = AIMessage("", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=answer)])

    @property
    def _llm_type(self) -> str:
        return "scripted"


def search_tool() -> BaseTool:
    """The passages that share words with a question, and of these the three that answer it best."""
    corpus = load_collection(COLLECTION).corpus
    documents = {name: Document(one.text, id=name, metadata={"title": one.title}) for name, one in corpus.items()}
    index = LexicalIndex.build(StoredDocument(name, one.full_text) for name, one in corpus.items())
    first_stage = RunnableLambda(lambda question: [documents[name] for name, _ in index.search([question], 50)[0]])
    reranker = FrenchCrossEncoderReranker(model="embedded", top_n=3, metadata_fields=["title"])
    return create_retriever_tool(
        ContextualCompressionRetriever(base_compressor=reranker, base_retriever=first_stage),
        "chercher",
        "Trouve les passages qui répondent à une question sur la vie publique en France. Pose une question entière.",
        document_prompt=PromptTemplate.from_template("{title} (pertinence {relevance_score:.3f})\n{page_content}"),
        response_format="content_and_artifact",
    )


def agent(model: BaseChatModel, tools: list[BaseTool]) -> CompiledStateGraph:
    """A graph that goes to and fro between the model and its tools until the model calls none."""
    with_tools = model.bind_tools(tools)
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [with_tools.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile()


def main(question: str = QUESTION) -> None:
    for message in agent(ScriptedModel(), [search_tool()]).invoke({"messages": [HumanMessage(question)]})["messages"]:
        called = "".join(f"{call['name']}({call['args']['query']!r})" for call in getattr(message, "tool_calls", []))
        print(f"{message.type:>5}  {called or message.content}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
