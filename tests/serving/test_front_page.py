"""The page at `/` and what it rests on, over HTTP."""

import json
import re
import shutil

import pytest

from fr_reranker_plugin import DocumentIndex, ModelSettings, SettingsError, SharedEncoder, SharedScorer, StoredDocument
from fr_reranker_plugin.collections import sample_folder
from fr_reranker_plugin.errors import IndexClosedError
from fr_reranker_plugin.serving import ApiKeys, ServerSettings, create_app
from fr_reranker_plugin.serving.first_stage import SampleFirstStage
from fr_reranker_plugin.serving.front_page import PATHS
from serving.conftest import running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("index") / "folder"
    encoder = SharedEncoder(ModelSettings(model="embedded"))
    with DocumentIndex.create(folder, encoder) as index:
        index.add([StoredDocument("a", "Le parc ferme."), StoredDocument("b", "La mairie ouvre.")])
        index.save()
    encoder.close()
    return folder


@pytest.fixture(scope="module")
def server(folder, tiny_model: str):
    settings = ServerSettings(keys=ApiKeys(["une-clef"]))
    with running(SharedScorer(ModelSettings(model=tiny_model)), settings, index=folder) as server:
        yield server


WITH_KEY = {"Authorization": "Bearer une-clef"}


@pytest.mark.parametrize("path", sorted(PATHS))
def test_the_page_is_served_without_a_key_under_a_strict_policy(path, server):
    answer = server.get(path)
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_names_nothing_outside_the_server(server):
    for path in PATHS - {"/page/icon.svg"}:
        text = server.get(path).text.replace("http://www.w3.org/2000/svg", "")
        assert "//" not in re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE), path
        assert "innerHTML" not in text, path
    parts = re.findall(r'(?:src|href)="([^"#]+)"', server.get("/").text)
    assert {f"/{part}" for part in parts} <= PATHS, "relative, so that a proxy may put the page below a path"
    assert parts


def test_without_an_index_there_is_no_page(tiny_server):
    assert {tiny_server.get(path).status_code for path in [*PATHS, "/index"]} == {404}


def test_what_is_searched_is_told_to_those_who_may_search(server, tiny_model):
    assert server.get("/index").status_code == 401
    assert server.get("/index", headers=WITH_KEY).json() == {
        "documents": 2,
        "encoder": "embedded",
        "model": tiny_model,
        "first_stage_weight": 0.0,
        "long_documents": "truncate",
        "questions": [],
    }


def test_retrieve_tells_how_long_each_stage_took(server):
    body = {"query": "Quand ferme le parc ?"}
    both = server.post("/retrieve", body, headers=WITH_KEY).json()["seconds"]
    assert set(both) == {"first_stage", "reranking"}
    assert all(value > 0 for value in both.values())
    first = server.post("/retrieve", {**body, "rerank": False}, headers=WITH_KEY).json()["seconds"]
    assert set(first) == {"first_stage"}


def test_an_index_and_the_sample_collection_are_not_searched_together(folder, tiny_model):
    with pytest.raises(SettingsError, match="not both"):
        create_app(SharedScorer(ModelSettings(model=tiny_model)), index=folder, sample=True)


@pytest.fixture
def small_sample(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """The first of the sample collection in the place of all of it, which take long to encode."""
    corpus = (sample_folder() / "corpus.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:40]
    names = [json.loads(line)["_id"] for line in corpus]
    shutil.copytree(sample_folder(), tmp_path / "sample")
    (tmp_path / "sample" / "corpus.jsonl").write_text("".join(corpus), encoding="utf-8")
    qrels = tmp_path / "sample" / "qrels" / "test.tsv"
    head, *rows = qrels.read_text(encoding="utf-8").splitlines(keepends=True)
    qrels.write_text(head + "".join(row for row in rows if row.split("\t")[1] in names), encoding="utf-8")
    monkeypatch.setattr("fr_reranker_plugin.serving.first_stage.sample_folder", lambda: tmp_path / "sample")


def test_the_sample_collection_is_searched_from_memory(small_sample, tiny_model):
    with running(SharedScorer(ModelSettings(model=tiny_model)), sample=True) as server:
        facts = server.get("/index").json()
        assert (facts["documents"], facts["encoder"]) == (40, "embedded")
        assert (
            "Peut-on se dire oui dans le village de mes parents alors qu'on vit tous les deux à Lyon ?"
            in facts["questions"]
        )
        body = {"query": "Où déclarer une naissance ?", "rerank": False, "top_k": 3}
        [first, *_] = server.post("/retrieve", body).json()["results"]
        title, _, text = first["text"].partition("\n")
        assert first["metadata"] == {"title": title}
        assert "naissance" in text


async def test_a_server_that_is_told_to_stop_does_not_encode_the_sample_to_its_end():
    first_stage = SampleFirstStage(ModelSettings(model="embedded"))
    first_stage.close()
    with pytest.raises(IndexClosedError, match="told to stop"):
        await first_stage.warm_up()
    first_stage.close()
