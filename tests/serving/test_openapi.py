"""The description of the endpoints, and whether the server keeps to it."""

import json
from contextlib import suppress

import jsonschema
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from engines import TIMEOUT
from fr_reranker_plugin import DocumentIndex, ModelSettings, SharedEncoder, SharedScorer, StoredDocument
from fr_reranker_plugin.serving import ApiKeys, ServerSettings, create_app
from fr_reranker_plugin.serving.problems import KINDS
from serving.conftest import Running, running

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    positive_data_acceptance,
]
OPERATIONS = [
    ("POST", "/rerank"),
    ("POST", "/v1/rerank"),
    ("POST", "/v2/rerank"),
    ("POST", "/score"),
    ("POST", "/retrieve"),
    ("GET", "/index"),
    ("GET", "/info"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/metrics"),
]
MANY_SECONDS = "60"
REFUSED = ["400", "413", "422"]  # a list with more items than we allow may also be a body that is too long


@pytest.fixture(scope="module")
def server(tiny_model: str, tmp_path_factory: pytest.TempPathFactory):
    """A server with every endpoint."""
    folder = tmp_path_factory.mktemp("index") / "folder"
    encoder = SharedEncoder(ModelSettings(model="embedded"))
    with DocumentIndex.create(folder, encoder) as index:
        index.add([StoredDocument("a", "Le parc ferme."), StoredDocument("b", "La mairie ouvre.", {"year": 2020})])
        index.save()
    encoder.close()
    with running(SharedScorer(ModelSettings(model=tiny_model)), index=folder) as server:
        yield server


@pytest.fixture(scope="module")
def session():
    with requests.Session() as session:
        yield session


@pytest.fixture(scope="module")
def schema(server: Running):
    return server.get("/openapi.json").json()


def test_every_endpoint_is_described(schema):
    described = {(method.upper(), path) for path, item in schema["paths"].items() for method in item}
    assert described == set(OPERATIONS)


def give_time(case):
    """Take away deadlines that no server could keep; one that is no time at all stays."""
    for name, value in case.headers.items():
        with suppress(ValueError):
            if name.lower() == "x-request-timeout" and 0.001 <= float(value) < float("inf"):
                case.headers[name] = MANY_SECONDS


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        pytest.param(method, path, mode, id=f"{path}-{mode.value}")
        for mode in GenerationMode
        for method, path in OPERATIONS
        if method == "POST" or mode is GenerationMode.POSITIVE  # nothing can be wrong with what has nothing in it
    ],
)
def test_what_is_described_is_what_is_answered(method, path, mode, schema, server, session):
    config = {"checks": {"negative_data_rejection": {"expected-statuses": REFUSED}}}
    operation = schemathesis.openapi.from_dict(schema, config=SchemathesisConfig.from_dict(config))[path][method]
    checks = [check for check in CHECKS if path != "/retrieve" or check is not positive_data_acceptance]

    @settings(
        max_examples=60,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers(case):
        give_time(case)
        response = case.call(base_url=server.url, session=session, timeout=TIMEOUT)
        case.validate_response(response, checks=checks)

    answers()


def test_the_examples_of_the_description_are_answered(schema, server):
    answered = 0
    for name, body in schema["components"]["schemas"].items():
        if not name.endswith("Request"):
            continue
        path = next(
            path
            for path, item in schema["paths"].items()
            if name in json.dumps(item.get("post", {}).get("requestBody", {}))
        )
        for example in body["examples"]:
            jsonschema.validate(example, {**body, "components": schema["components"]})
            assert server.post(path, example).status_code == 200, path
            answered += 1
    assert answered == 5


def test_keys_are_part_of_the_description_where_the_server_asks_for_them():
    scorer = SharedScorer(ModelSettings(model="embedded"))
    with_keys = create_app(scorer, ServerSettings(keys=ApiKeys(["une-clef"]))).openapi()
    assert with_keys["security"] == [{"bearer": []}]
    assert with_keys["paths"]["/health"]["get"]["security"] == []
    assert "security" not in create_app(scorer).openapi()


@given(code=st.sampled_from(sorted(KINDS)))
def test_every_code_has_a_status_that_is_an_error(code):
    assert 400 <= KINDS[code].status < 600
