"""What a user installs: the wheel, in an environment of its own, outside the repository."""

import re
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent
README_BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def run(*command, cwd):
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


PAGE = sorted(path.name for path in (ROOT / "src/fr_reranker_plugin/serving/page").iterdir())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*pip, "--wheel-dir", str(folder), str(ROOT), cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """An environment that has the wheel, and its dependencies from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel), cwd=folder)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return folder


@pytest.mark.slow
def test_the_wheel_is_small_enough_and_holds_what_it_should(wheel):
    assert wheel.stat().st_size < 100e6
    names = set(zipfile.ZipFile(wheel).namelist())
    leaves = [f"haystack_integrations/components/{kind}/fr_reranker" for kind in ("embedders", "rankers", "retrievers")]
    leaves.append("haystack_integrations/document_stores/fr_reranker")
    assert {
        "fr_reranker_plugin/py.typed",
        "fr_reranker_plugin/models/bi_encoder/model.safetensors",
        "fr_reranker_plugin/models/cross_encoder/model.safetensors",
        "fr_reranker_plugin/sample_collection/corpus.jsonl",
        "fr_reranker_plugin/evaluation/published_figures.json",
        *(f"fr_reranker_plugin/serving/page/{name}" for name in PAGE),
        *(f"{leaf}/{name}" for leaf in leaves for name in ("__init__.py", "py.typed")),
    } <= names
    assert {name.rpartition("/")[0] for name in names if name.endswith("/__init__.py")} >= set(leaves)
    above = {str(parent) for leaf in leaves for parent in PurePosixPath(leaf).parents}
    assert not [name for name in names if name.endswith("__init__.py") and name.rpartition("/")[0] in above]
    assert not [name for name in names if name.startswith(("tests/", "recipes/", "examples/"))]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_installed_wheel_runs_the_demo_outside_the_repository(environment):
    place = run(
        str(environment / "venv/bin/python"), "-c", "import fr_reranker_plugin as p; print(p.__file__)", cwd="/"
    )
    assert place.startswith(str(environment))
    shown = run(str(environment / "venv/bin/fr-reranker"), "demo", "--candidates", "5", cwd="/")
    assert "nDCG@10" in shown


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("number", range(len(README_BLOCKS)))
def test_the_installed_wheel_runs_the_examples_of_the_readme(environment, number):
    script = environment / f"block{number}.py"
    script.write_text(README_BLOCKS[number])
    assert "naissance" in run(str(environment / "venv/bin/python"), str(script), cwd="/")
