import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fr_reranker_plugin

SOURCES = Path(fr_reranker_plugin.__file__).parent
NAMESPACE = SOURCES.parent / "haystack_integrations"
MODULES = sorted([*SOURCES.rglob("*.py"), *NAMESPACE.rglob("*.py")])
HEAVY = (
    "torch",
    "transformers",
    "haystack",
    "langchain_core",
    "faiss",
    "numpy",
    "typer",
    "rich",
    "sentence_transformers",
)


def modules_after(code):
    """Names of the modules that a fresh interpreter has loaded after running `code`."""
    listing = f"{code}\nimport sys; print(chr(10).join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, timeout=60, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import fr_reranker_plugin",
        "from fr_reranker_plugin import ModelSettings, BatchSettings, RerankerError, make_pairs",
        "from fr_reranker_plugin import SharedScorer, ModelSettings; SharedScorer(ModelSettings())",
    ],
)
def test_importing_the_package_loads_none_of_its_heavy_libraries(code):
    assert modules_after(code).isdisjoint(HEAVY)


@pytest.mark.parametrize(
    ("code", "foreign"),
    [
        ("import fr_reranker_plugin.langchain", "haystack"),
        ("import fr_reranker_plugin.langchain", "torch"),
        ("import fr_reranker_plugin.haystack", "langchain_core"),
        ("import fr_reranker_plugin.serving", "haystack"),
        ("import fr_reranker_plugin.serving", "langchain_core"),
        ("import fr_reranker_plugin.serving", "torch"),
        ("import fr_reranker_plugin.serving", "faiss"),
    ],
)
def test_an_adapter_loads_only_its_own_framework(code, foreign):
    assert foreign not in modules_after(code)


@pytest.mark.parametrize("module", ["scoring.remote.scorer", "retrieval.document_index", "langchain", "serving", "cli"])
def test_the_package_can_be_imported_where_there_is_no_fork(module):
    modules_after(f"import os; del os.fork, os.register_at_fork; import fr_reranker_plugin.{module}")


def test_the_haystack_side_can_be_imported_where_there_is_no_fork():
    """Haystack comes first: it imports torch, which knows by the name of the platform that there is a fork."""
    modules_after("import os, haystack; del os.fork, os.register_at_fork; import fr_reranker_plugin.haystack")


@pytest.mark.parametrize(
    ("adapter", "library", "extra"),
    [
        ("haystack", "haystack", "haystack"),
        ("langchain", "langchain_core", "langchain"),
        ("serving", "prometheus_client", "serve"),
        ("serving.ray_app", "ray", "ray,serve"),
    ],
)
def test_an_adapter_without_its_library_names_the_extra_to_install(adapter, library, extra):
    code = f"""
import sys
sys.modules[{library!r}] = None
from fr_reranker_plugin import MissingDependencyError
try:
    import fr_reranker_plugin.{adapter}
except MissingDependencyError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert f"fr-reranker-plugin[{extra}]" in result.stdout


def test_the_public_names_are_sorted_complete_and_documented():
    assert fr_reranker_plugin.__all__ == sorted(fr_reranker_plugin._HOME)
    for name in fr_reranker_plugin.__all__:
        assert getattr(fr_reranker_plugin, name).__doc__, name


def test_every_error_is_a_reranker_error_and_a_builtin_one():
    from fr_reranker_plugin import errors

    leaves = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind is not errors.RerankerError]
    assert re.findall(r"── (\w+)", str(errors.__doc__)) == [kind.__name__ for kind in leaves]
    for kind in leaves:
        assert issubclass(kind, errors.RerankerError)
        assert any(issubclass(kind, base) for base in (ValueError, ImportError, RuntimeError, TimeoutError)), kind


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCES.parent)))
def test_files_and_functions_stay_short(path):
    assert len(path.read_text().splitlines()) <= 250
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            code = (node.end_lineno or 0) - node.body[0].lineno
            documented = ast.get_docstring(node)
            assert code - (len(documented.splitlines()) if documented else 0) <= 45, f"{path.name}: {node.name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCES.parent)))
def test_nothing_inside_imports_the_top_package_or_is_called_a_drawer(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.module != "fr_reranker_plugin", path
        if isinstance(node, ast.Import):
            assert all(alias.name != "fr_reranker_plugin" for alias in node.names), path
    assert not {"utils", "helpers", "common", "base", "manager"} & set(path.with_suffix("").parts)


def test_the_namespace_has_no_init_above_our_leaf():
    ours = NAMESPACE / "components" / "rankers" / "fr_reranker"
    assert (ours / "py.typed").is_file()
    above = [NAMESPACE, NAMESPACE / "components", NAMESPACE / "components" / "rankers"]
    assert not any((folder / "__init__.py").exists() for folder in above)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCES.parent)))
def test_nothing_is_pickled_and_no_process_is_started(path):
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported.isdisjoint({"pickle", "joblib", "shelve", "marshal", "multiprocessing", "subprocess"})
