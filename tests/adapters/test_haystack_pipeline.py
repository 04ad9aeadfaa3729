import json
from collections.abc import Iterator

import pytest
from haystack import Document, Pipeline, SuperComponent
from haystack.components.builders import PromptBuilder
from haystack.components.retrievers import MultiRetriever
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
from haystack.core.errors import BreakpointException
from haystack.core.pipeline.breakpoint import load_pipeline_snapshot
from haystack.dataclasses.breakpoints import Breakpoint
from haystack.tools import ComponentTool

from adapters.haystack_documents import (
    QUESTION,
    filled_store,
    french_documents,
    question_for,
    scores_by_id,
    search_pipeline,
)
from fr_reranker_plugin import SettingsError
from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker


@pytest.fixture
def ranker(tiny_model: str) -> Iterator[FrenchCrossEncoderRanker]:
    ranker = FrenchCrossEncoderRanker(model=tiny_model, score_meta_field="first_stage")
    yield ranker
    ranker.close()


@pytest.fixture
def expected(tiny_model: str) -> dict[str, float]:
    ranker = FrenchCrossEncoderRanker(model=tiny_model)
    scores = scores_by_id(ranker.run(QUESTION, french_documents())["documents"])
    ranker.close()
    return scores


def test_a_retriever_and_a_prompt_builder_connect_without_naming_sockets(
    ranker: FrenchCrossEncoderRanker, expected: dict[str, float]
) -> None:
    pipeline = search_pipeline(ranker)
    template = "{% for doc in docs %}{{ doc.content }}\n{% endfor %}{{ query }}"
    pipeline.add_component("prompt_builder", PromptBuilder(template=template, required_variables="*"))
    pipeline.connect("ranker", "prompt_builder.docs")
    inputs = {**question_for(), "prompt_builder": {"query": QUESTION}}
    answer = pipeline.run(inputs, include_outputs_from={"retriever", "ranker"})
    ranked = answer["ranker"]["documents"]
    assert scores_by_id(ranked) == pytest.approx({document.id: expected[document.id] for document in ranked}, abs=1e-4)
    assert answer["prompt_builder"]["prompt"] == "\n".join([*(document.content for document in ranked), QUESTION])
    first_stage = scores_by_id(answer["retriever"]["documents"])
    assert {document.id: document.meta["first_stage"] for document in ranked} == first_stage


def two_retrievers(ranker: FrenchCrossEncoderRanker) -> Pipeline:
    store = filled_store([Document(content=d.content, embedding=[1.0, n]) for n, d in enumerate(french_documents())])
    pipeline = Pipeline()
    pipeline.add_component("lexical", InMemoryBM25Retriever(store))
    pipeline.add_component("dense", InMemoryEmbeddingRetriever(store))
    pipeline.add_component("ranker", ranker)
    pipeline.connect("lexical.documents", "ranker.documents")
    pipeline.connect("dense.documents", "ranker.documents")
    return pipeline


async def test_documents_that_two_retrievers_find_are_ranked_once(ranker: FrenchCrossEncoderRanker) -> None:
    pipeline = two_retrievers(ranker)
    inputs = {"lexical": {"query": QUESTION}, "dense": {"query_embedding": [1.0, 0.0]}, "ranker": {"query": QUESTION}}
    answer = pipeline.run(inputs, include_outputs_from={"lexical", "dense"})
    found = [document.id for name in ("lexical", "dense") for document in answer[name]["documents"]]
    ranked = [document.id for document in answer["ranker"]["documents"]]
    assert len(found) > len(set(found)) == 6
    assert sorted(ranked) == sorted(set(found))
    assert [d.id for d in (await pipeline.run_async(inputs))["ranker"]["documents"]] == ranked


def test_a_pipeline_from_yaml_gives_the_same_answer(ranker: FrenchCrossEncoderRanker) -> None:
    pipeline = Pipeline()
    pipeline.add_component("ranker", ranker)
    inputs = {"ranker": {"query": QUESTION, "documents": french_documents()}}
    loaded = Pipeline.loads(pipeline.dumps())
    assert loaded.run(inputs) == pipeline.run(inputs)
    loaded.close()


def retrieve_and_rerank(ranker: FrenchCrossEncoderRanker) -> SuperComponent:
    return SuperComponent(
        pipeline=search_pipeline(ranker),
        input_mapping={
            "query": ["retriever.query", "ranker.query"],
            "filters": ["retriever.filters"],
            "top_k": ["ranker.top_k"],
        },
        output_mapping={"ranker.documents": "documents"},
    )


@pytest.mark.filterwarnings("ignore:'MultiRetriever' is an experimental component")  # it says so at each use
def test_a_super_component_around_retriever_and_ranker_serves_as_a_retriever(
    ranker: FrenchCrossEncoderRanker, expected: dict[str, float]
) -> None:
    search = retrieve_and_rerank(ranker)
    ranked = search.run(query=QUESTION, top_k=2)["documents"]
    assert len(ranked) == 2
    several = MultiRetriever(retrievers={"search": search}, join_mode="concatenate")
    found = several.run(query=QUESTION)["documents"]
    assert scores_by_id(found) == pytest.approx({name: expected[name] for name in scores_by_id(found)}, abs=1e-4)
    assert {document.id for document in ranked} <= {document.id for document in found}


def test_a_tool_describes_the_ranker_and_its_parameters(ranker: FrenchCrossEncoderRanker) -> None:
    tool = ComponentTool(component=ranker, name="rerank")
    properties = tool.parameters["properties"]
    assert list(properties) == ["query", "documents", "top_k", "scale_score", "score_threshold"]
    assert tool.parameters["required"] == ["query", "documents"]
    assert all(len(entry["description"]) > 20 for entry in properties.values())
    assert tool.description.startswith("Ranks documents by how well they answer a French question")
    called = tool.invoke(query=QUESTION, documents=[document.to_dict() for document in french_documents()], top_k=1)
    assert len(called["documents"]) == 1


def test_a_snapshot_at_a_breakpoint_is_json_and_the_run_goes_on_from_it(
    ranker: FrenchCrossEncoderRanker, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAYSTACK_PIPELINE_SNAPSHOT_SAVE_ENABLED", "true")
    pipeline = search_pipeline(ranker)
    pipeline.add_component("prompt_builder", PromptBuilder("{{ docs | length }}", required_variables="*"))
    pipeline.connect("ranker", "prompt_builder.docs")
    whole = pipeline.run(question_for())
    with pytest.raises(BreakpointException):
        pipeline.run(question_for(), break_point=Breakpoint("prompt_builder", snapshot_file_path=str(tmp_path)))
    [saved] = tmp_path.iterdir()
    assert "ranker" in json.loads(saved.read_text(encoding="utf-8"))["pipeline_state"]["component_visits"]
    assert pipeline.run(data={}, pipeline_snapshot=load_pipeline_snapshot(saved)) == whole


def test_a_wrong_argument_in_a_pipeline_names_itself(ranker: FrenchCrossEncoderRanker) -> None:
    pipeline = search_pipeline(ranker)
    with pytest.raises(Exception, match="top_k must be >= 1") as caught:
        pipeline.run({"retriever": {"query": QUESTION}, "ranker": {"query": QUESTION, "top_k": 0}})
    assert isinstance(caught.value.__cause__, SettingsError)
