import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.haystack_documents import QUESTION, french_documents, scores_by_id
from fr_reranker_plugin import CrossEncoder, DocumentIndex, ModelSettings, SharedEncoder, StoredDocument
from fr_reranker_plugin.retrieval.index_settings import IndexKind
from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker

pytest.importorskip("hayhooks")

from fastapi import FastAPI
from fastapi.testclient import TestClient
from hayhooks.server.pipelines.registry import registry
from hayhooks.server.utils.deploy_utils import deploy_pipeline_files, deploy_pipeline_yaml
from hayhooks.server.utils.mcp_utils import create_mcp_server

# pydantic validates a Document without its __init__, and Haystack takes the setting of its id for a mutation
pytestmark = pytest.mark.filterwarnings("ignore:Mutating attribute 'id'")

EXAMPLES = Path(__file__).parents[2] / "examples" / "hayhooks"


@pytest.fixture
def app() -> Iterator[FastAPI]:
    yield FastAPI()
    for name in registry.get_names():
        registry.get(name).pipeline.close()
        registry.remove(name)


@pytest.fixture
def expected(tiny_model: str) -> dict[str, float]:
    ranker = FrenchCrossEncoderRanker(model=tiny_model)
    scores = scores_by_id(ranker.run(QUESTION, french_documents())["documents"])
    ranker.close()
    return scores


def example(name: str, tiny_model: str) -> str:
    """Give an example file with the tiny model in place of the embedded one."""
    source = (EXAMPLES / name).read_text(encoding="utf-8")
    assert source.count("embedded") == 1
    return source.replace('"embedded"', repr(tiny_model)).replace("model: embedded", f"model: {tiny_model}")


def deploy_yaml(app: FastAPI, source: str) -> TestClient:
    deploy_pipeline_yaml("rerank", source, app=app, options={"save_file": False})
    return TestClient(app)


def post(client: TestClient, **body: Any) -> Any:
    answer = client.post("/rerank/run", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def test_the_yaml_example_answers_json_documents_with_json_scores(
    app: FastAPI, tiny_model: str, expected: dict[str, float]
) -> None:
    client = deploy_yaml(app, example("reranker.yml", tiny_model))
    sent = [document.to_dict(flatten=False) for document in french_documents()]
    for _ in range(2):
        documents = post(client, query=QUESTION, documents=sent, top_k=4)["ranker"]["documents"]
        assert len(documents) == 4
        scores = {document["id"]: document["score"] for document in documents}
        assert {type(score) for score in scores.values()} == {float}
        assert scores == pytest.approx({name: expected[name] for name in scores}, abs=1e-4)
        assert list(scores.values()) == sorted(expected.values(), reverse=True)[:4]


def test_passages_without_ids_get_one(app: FastAPI, tiny_model: str) -> None:
    client = deploy_yaml(app, example("reranker.yml", tiny_model))
    sent = [{"content": document.content, "meta": document.meta} for document in french_documents()]
    documents = post(client, query=QUESTION, documents=sent, top_k=6)["ranker"]["documents"]
    assert {document["id"] for document in documents} == {document.id for document in french_documents()}


def test_deploying_loads_no_model(app: FastAPI, tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    load = CrossEncoder.load
    monkeypatch.setattr(CrossEncoder, "load", lambda settings: loads.append(settings.model) or load(settings))
    client = deploy_yaml(app, example("reranker.yml", tiny_model))
    assert loads == []
    post(client, query=QUESTION, documents=[{"content": "Un passage."}], top_k=1)
    assert loads == [tiny_model]


def test_the_wrapper_example_takes_texts_and_describes_its_parameters(
    app: FastAPI, tiny_model: str, expected: dict[str, float]
) -> None:
    files = {"pipeline_wrapper.py": example("rerank/pipeline_wrapper.py", tiny_model)}
    deploy_pipeline_files("rerank", files, app=app, save_files=False)
    client = TestClient(app)
    texts = [document.content for document in french_documents()]
    ranked = post(client, query=QUESTION, passages=texts, top_k=2)["documents"]
    assert [document["score"] for document in ranked] == pytest.approx(
        sorted(expected.values(), reverse=True)[:2], abs=1e-4
    )
    metadata = registry.get_metadata("rerank")
    schema = metadata["request_model"].model_json_schema()  # what the MCP tool shows as well
    assert metadata["description"].startswith("Rank French passages")
    assert schema["required"] == ["query", "passages"]
    assert all(field["description"] for field in schema["properties"].values())


def test_a_wrong_request_is_answered_and_the_server_goes_on(app: FastAPI, tiny_model: str) -> None:
    client = deploy_yaml(app, example("reranker.yml", tiny_model))
    wrong = client.post("/rerank/run", json={"query": QUESTION, "documents": [{"content": "a"}], "top_k": 0})
    assert wrong.status_code == 500
    assert "top_k must be >= 1" in json.dumps(wrong.json())
    assert post(client, query=QUESTION, documents=[], top_k=3)["ranker"]["documents"] == []


async def call_tool(name: str, **arguments: Any) -> Any:
    """Call a pipeline as an agent does, through MCP's protocol, and read the JSON that it answers with."""
    memory = pytest.importorskip("mcp.shared.memory")
    async with memory.create_connected_server_and_client_session(create_mcp_server()) as session:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert set(arguments) <= set(tools[name].inputSchema["properties"])
        assert tools[name].description
        answer = await session.call_tool(name, arguments)
    [content] = answer.content
    assert not answer.isError, content.text
    return json.loads(content.text)


async def test_the_wrapper_example_is_a_tool_that_answers_json(
    app: FastAPI, tiny_model: str, expected: dict[str, float]
) -> None:
    files = {"pipeline_wrapper.py": example("rerank/pipeline_wrapper.py", tiny_model)}
    deploy_pipeline_files("rerank", files, app=app, save_files=False)
    texts = [document.content for document in french_documents()]
    ranked = (await call_tool("rerank", query=QUESTION, passages=texts, top_k=2))["documents"]
    best = sorted(expected.values(), reverse=True)[:2]
    assert [document["score"] for document in ranked] == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
async def test_the_search_example_finds_in_an_index_of_any_kind_over_rest_and_as_a_tool(
    app: FastAPI, tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: IndexKind
) -> None:
    encoder = SharedEncoder(ModelSettings(model="embedded"))
    with DocumentIndex.create(tmp_path / "index", encoder, kind=kind) as index:
        index.add(
            [StoredDocument("a", "La mairie ouvre à neuf heures.", {"n": 1}), StoredDocument("b", "Le parc ferme.")]
        )
        index.save()
    encoder.close()
    monkeypatch.setenv("FR_RERANKER_INDEX", str(tmp_path / "index"))
    files = {"pipeline_wrapper.py": example("search/pipeline_wrapper.py", tiny_model)}
    deploy_pipeline_files("search", files, app=app, save_files=False)
    answer = TestClient(app).post("/search/run", json={"question": "Quand ouvre la mairie ?", "top_k": 2})
    found = answer.json()["result"]["passages"]
    assert {(one["id"], one["content"]) for one in found} == {
        ("a", "La mairie ouvre à neuf heures."),
        ("b", "Le parc ferme."),
    }
    as_tool = (await call_tool("search", question="Quand ouvre la mairie ?", top_k=2))["passages"]
    assert [one["id"] for one in as_tool] == [one["id"] for one in found]
    assert [one["score"] for one in as_tool] == pytest.approx([one["score"] for one in found], abs=1e-5)
