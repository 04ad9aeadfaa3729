"""The application under a prefix, where a proxy, Ray Serve or an application around it puts it."""

from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from fr_reranker_plugin import ModelSettings, SharedScorer
from fr_reranker_plugin.serving import ApiKeys, ServerSettings, create_app

KEY = "une-clef-de-test"


@pytest.fixture(params=["", "/fr", "/health"])
async def client(request, tiny_model):
    app = create_app(SharedScorer(ModelSettings(model=tiny_model)), ServerSettings(keys=ApiKeys([KEY])))
    async with app.router.lifespan_context(app):
        await app.state.door.readiness.settled()
        transport = httpx.ASGITransport(app, root_path=request.param)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://here{request.param}") as client:
            yield client


async def test_a_prefix_changes_neither_keys_nor_errors_nor_metrics(client):
    for path in ("/health", "/ready"):
        assert (await client.get(path)).status_code == 200, path
    assert (await client.get("/")).status_code == 404, "needs no key, and there is no index to have a page for"
    for path in ("/metrics", "/index", "/nowhere"):
        assert (await client.get(path)).status_code == 401, path
    client.headers["Authorization"] = f"Bearer {KEY}"
    refused = await client.post("/rerank", json={"query": "q"})
    assert (refused.status_code, refused.json()["error_type"]) == (422, "Validation")
    assert (await client.post("/v1/rerank", json={"query": "q"})).json()["detail"]
    families = text_string_to_metric_families((await client.get("/metrics")).text)
    counted = {sample.labels.get("endpoint") for family in families for sample in family.samples}
    assert {"/health", "/ready", "/rerank", "/v1/rerank"} <= counted


@pytest.mark.usefixtures("no_model_left")
async def test_an_application_around_it_starts_it_and_ends_it(tiny_model):
    inner = create_app(SharedScorer(ModelSettings(model=tiny_model)))

    @asynccontextmanager
    async def lifespan(app):
        async with inner.router.lifespan_context(inner):
            yield

    outer = FastAPI(lifespan=lifespan)
    outer.mount("/fr", inner)
    async with (
        outer.router.lifespan_context(outer),
        httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://here/fr") as client,
    ):
        await inner.state.door.readiness.settled()
        ranked = (await client.post("/rerank", json={"query": "q", "texts": ["un", "deux"]})).json()
    assert {one["index"] for one in ranked} == {0, 1}
