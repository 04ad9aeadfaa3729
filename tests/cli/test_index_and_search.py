"""`fr-reranker index` and `search`: from files to passages that answer, on the embedded models."""

import json
from pathlib import Path

import pytest

from fr_reranker_plugin import DocumentIndex

pytestmark = pytest.mark.usefixtures("no_model_left")

MARKDOWN = """# Naissance

La déclaration de naissance se fait à la mairie dans les cinq jours.

# Zoo

Le zèbre vit au zoo de Vincennes. La girafe aussi.
"""
LINES = [
    {"id": "cni", "title": "Carte d'identité", "text": "Elle est délivrée en mairie.", "metadata": {"year": 2024}},
    {"text": "Le passeport coûte 86 euros.", "metadata": {"year": 2020}},
]


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    (folder / "more").mkdir(parents=True)
    (folder / "guide.md").write_text(MARKDOWN, encoding="utf-8")
    (folder / "more" / "fiches.jsonl").write_text("\n".join(map(json.dumps, LINES)), encoding="utf-8")
    (folder / "image.png").write_bytes(b"\x89PNG")
    return folder


def test_a_folder_of_files_becomes_an_index_that_answers(sources: Path, tmp_path: Path, run) -> None:
    done = run("index", str(tmp_path / "index"), str(sources), "--json")
    assert (done.code, done.json["documents"], done.json["new"], done.json["replaced"]) == (0, 4, 4, 0)
    found = run("search", str(tmp_path / "index"), "Où vit le zèbre ?", "--json", "--top-k", "2").json
    assert [row["rank"] for row in found] == [1, 2]
    assert found[0]["id"] == f"{sources / 'guide.md'}#2"
    assert found[0]["text"] == "Zoo\nLe zèbre vit au zoo de Vincennes. La girafe aussi."
    assert found[0]["metadata"] == {"source": str(sources / "guide.md"), "passage": 2}


def test_indexing_again_replaces_and_adds(sources: Path, tmp_path: Path, run) -> None:
    run("index", str(tmp_path / "index"), str(sources))
    (sources / "new.txt").write_text("Le tramway relie la gare au port.", encoding="utf-8")
    done = run("index", str(tmp_path / "index"), str(sources), "--json").json
    assert (done["documents"], done["new"], done["replaced"]) == (5, 1, 4)
    found = run("search", str(tmp_path / "index"), "tramway", "--no-rerank", "--method", "bm25", "--json").json
    assert [row["id"] for row in found] == [str(sources / "new.txt") + "#1"]


def test_a_text_that_has_become_shorter_loses_its_last_passages_and_no_others(
    sources: Path, tmp_path: Path, run
) -> None:
    run("index", str(tmp_path / "index"), str(sources))
    (sources / "guide.md").write_text(MARKDOWN.partition("# Zoo")[0], encoding="utf-8")
    done = run("index", str(tmp_path / "index"), str(sources), "--json").json
    assert (done["documents"], done["new"], done["replaced"], done["removed"]) == (3, 0, 3, 1)
    (sources / "guide.md").write_text("", encoding="utf-8")
    done = run("index", str(tmp_path / "index"), str(sources), "--json").json
    assert (done["documents"], done["removed"]) == (2, 1)


def test_an_index_may_stand_among_the_documents(sources: Path, run) -> None:
    (sources / "folder.txt").mkdir()
    for new, replaced in ((4, 0), (0, 4)):
        done = run("index", str(sources / "index"), str(sources), "--json")
        assert (done.code, done.json["new"], done.json["replaced"]) == (0, new, replaced), done.err


def test_a_kind_is_that_of_the_whole_index(sources: Path, tmp_path: Path, run) -> None:
    index = str(tmp_path / "index")
    assert run("index", index, str(tmp_path / "absent.md")).code == 2
    assert run("index", index, str(sources), "--kind", "hnsw", "--json").json["kind"] == "hnsw"
    refused = run("index", index, str(sources), "--kind", "flat")
    assert refused.code == 2
    assert "holds a hnsw index, which does not become flat" in refused.err
    assert run("index", index, str(sources), "--json").json["kind"] == "hnsw"


@pytest.mark.parametrize("method", ["dense", "bm25", "hybrid"])
def test_a_filter_and_a_method_can_be_chosen(sources: Path, tmp_path: Path, run, method: str) -> None:
    run("index", str(tmp_path / "index"), str(sources))
    recent = json.dumps({"field": "meta.year", "operator": ">=", "value": 2021})
    done = run("search", str(tmp_path / "index"), "mairie", "--method", method, "--filter", recent, "--json")
    assert [row["id"] for row in done.json] == ["cni"]


def test_no_rerank_gives_the_ranking_of_the_index(sources: Path, tmp_path: Path, run) -> None:
    run("index", str(tmp_path / "index"), str(sources))
    rows = run("search", str(tmp_path / "index"), "mairie", "--no-rerank", "--json").json
    with DocumentIndex.open(tmp_path / "index", read_only=True) as index:
        hits = index.search("mairie", 5)
    assert [(row["id"], row["score"]) for row in rows] == [(hit.document.id, hit.score) for hit in hits]


def test_the_order_of_the_index_counts_by_half_with_the_embedded_model_unless_told(
    sources: Path, tmp_path: Path, run, tiny_model: str
) -> None:
    run("index", str(tmp_path / "index"), str(sources))
    search = ("search", str(tmp_path / "index"), "mairie", "--json")
    usual, alone = run(*search).json, run(*search, "--first-stage-weight", "0").json
    assert usual == run(*search, "--first-stage-weight", "0.5").json
    assert [row["score"] for row in usual] != [row["score"] for row in alone]
    other = (*search, "--model", tiny_model)
    assert run(*other).json == run(*other, "--first-stage-weight", "0").json


def test_people_get_a_table(sources: Path, tmp_path: Path, run) -> None:
    done = run("index", str(tmp_path / "index"), str(sources))
    assert "documents  4" in done.out
    assert "fr-reranker search" in done.err
    shown = run("search", str(tmp_path / "index"), "Où vit le zèbre ?").out
    assert "found at" in shown.splitlines()[0]
    assert "Le zèbre" in shown


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["index", "{tmp}/i", "{tmp}/absent.txt"], "there is no file"),
        (["index", "{tmp}/i", "{sources}/image.png"], "expected a file that ends in .md"),
        (["index", "{tmp}/i", "{tmp}/empty"], "found none"),
        (["index", "{tmp}/i", "{tmp}/blank.txt"], "there is nothing to index"),
        (["search", "{tmp}/nowhere", "x"], "there is no index in"),
        (["search", "{tmp}/nowhere", " "], "the query must have text"),
        (["search", "{tmp}/nowhere", "x", "--filter", "{{"], "--filter must be JSON"),
        (["search", "{tmp}/nowhere", "x", "--filter", "3"], "--filter must be a JSON object"),
    ],
)
def test_wrong_input_gives_one_reason(sources: Path, tmp_path: Path, run, argv: list[str], reason: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.txt").write_text(" \n\n ", encoding="utf-8")
    done = run(*(argument.format(tmp=tmp_path, sources=sources) for argument in argv))
    assert done.code in (1, 2)
    assert reason in done.err
    assert "Traceback" not in done.err


def test_an_encoder_that_cannot_be_loaded_leaves_the_index_as_it_is(sources: Path, tmp_path: Path, run) -> None:
    run("index", str(tmp_path / "index"), str(sources))
    before = (tmp_path / "index" / "manifest.json").read_bytes()
    done = run("index", str(tmp_path / "index"), str(sources), "--encoder", str(tmp_path / "absent"))
    assert done.code == 1
    assert (tmp_path / "index" / "manifest.json").read_bytes() == before
