"""`fr-reranker info` says what would run, without the network and without loading weights."""

from pathlib import Path

import pytest

from fr_reranker_plugin import live_scorers


def test_a_folder_is_described(tiny_model: str, run) -> None:
    done = run("info", "--model", tiny_model, "--device", "cpu", "--json")
    assert (done.code, done.err) == (0, "")
    facts = done.json
    assert (facts["source"], facts["folder"], facts["problem"]) == ("folder", tiny_model, None)
    assert facts["architecture"] == "XLMRobertaForSequenceClassification"
    assert (facts["device"], facts["dtype"], facts["backend"], facts["max_length"]) == ("cpu", "float32", "torch", 512)
    assert {"python", "fr-reranker-plugin", "torch", "transformers", "tokenizers"} <= facts["versions"].keys()
    assert facts["threads"] >= 1
    assert live_scorers() == 0


def test_the_table_says_the_same(tiny_model: str, run) -> None:
    done = run("info", "--model", tiny_model)
    assert done.code == 0
    for fact in ("XLMRobertaForSequenceClassification", "float32", "512", "transformers"):
        assert fact in done.out


def test_the_embedded_model_is_ready(run) -> None:
    facts = run("info", "--json").json
    assert (facts["model"], facts["source"], facts["problem"]) == ("embedded", "embedded", None)
    assert facts["architecture"].endswith("ForSequenceClassification")


def test_a_hub_model_that_is_not_cached_is_no_problem_and_asks_no_network(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    done = run("info", "--model", "antoinelouis/crossencoder-me5-base-mmarcoFR", "--json")
    assert done.code == 0
    facts = done.json
    assert (facts["source"], facts["cached"], facts["folder"], facts["problem"]) == ("hub", False, None, None)
    assert facts["revision"] == "2b77fea"


def test_a_model_that_cannot_be_used_is_described_with_the_reason(run, tmp_path: Path) -> None:
    done = run("info", "--model", str(tmp_path / "absent"), "--json")
    assert done.code == 1
    assert done.json["problem"].startswith("there is no folder")
    (tmp_path / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}', encoding="utf-8")
    (tmp_path / "model.safetensors").touch()
    done = run("info", "--model", str(tmp_path), "--json")
    assert done.code == 1
    assert done.json["architecture"] == "BertModel"
    assert "no relevance head" in done.json["problem"]


def test_a_length_that_the_model_cannot_read_is_a_problem(tiny_model: str, run) -> None:
    done = run("info", "--model", tiny_model, "--max-length", "600", "--json")
    assert done.code == 1
    assert "above the 512 tokens" in done.json["problem"]


def test_what_others_published_of_a_model_is_shown_with_its_source(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "1000")
    model = "antoinelouis/crossencoder-camembert-base-mmarcoFR"
    figures = run("info", "--model", model, "--json").json["published"]
    assert {(one["protocol"], one["value"]) for one in figures if one["measure"] == "RR@10"} == {
        ("pool", 33.4), ("train-queries", 50.44),
    }  # fmt: skip
    shown = [line for line in run("info", "--model", model).out.splitlines() if line.startswith("published")]
    assert [("RR@10 33.40" in line, "not comparable" in line, "https://" in line) for line in shown] == [
        (True, False, True), (False, True, True),
    ]  # fmt: skip


def test_nothing_is_published_of_a_model_of_ones_own(tiny_model: str, run) -> None:
    assert run("info", "--model", tiny_model, "--json").json["published"] == []
    assert "published" not in run("info", "--model", tiny_model).out
