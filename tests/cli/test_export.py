"""`fr-reranker export` writes an ONNX file that `--backend onnx` finds."""

from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FR_RERANKER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_model_is_exported_into_the_cache_once(tiny_model: str, cache: Path, run) -> None:
    done = run("export", tiny_model, "--json")
    assert done.code == 0
    facts = done.json
    file = Path(facts["file"])
    assert file.is_relative_to(cache)
    assert facts["bytes"] == file.stat().st_size
    assert (facts["model"], facts["dtype"]) == (tiny_model, "float32")
    assert facts["max_logit_difference"] <= 1e-4
    written = file.stat().st_mtime_ns
    again = run("export", tiny_model)
    assert again.code == 0
    assert "max logit difference" in again.out
    assert file.stat().st_mtime_ns == written


def test_a_folder_can_be_named_and_gets_the_files(tiny_model: str, cache: Path, tmp_path: Path, run) -> None:
    done = run("export", tiny_model, "--dtype", "int8", "--output", str(tmp_path / "here"), "--json")
    assert done.code == 0
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["manifest.json", "model.onnx"]
    assert not cache.exists()
    assert run("export", tiny_model, "--output", str(tmp_path / "here"), "--json").json["dtype"] == "float32"


def test_a_folder_with_other_files_is_left_alone(tiny_model: str, tmp_path: Path, run) -> None:
    (tmp_path / "letter.txt").write_text("bonjour", encoding="utf-8")
    done = run("export", tiny_model, "--output", str(tmp_path))
    assert done.code == 2
    assert "no earlier export" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_dtype_that_the_engine_lacks_is_refused(tiny_model: str, run) -> None:
    done = run("export", tiny_model, "--dtype", "bfloat16")
    assert done.code == 2
    assert "'float32' or 'int8'" in done.err
