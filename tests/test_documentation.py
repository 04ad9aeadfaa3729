import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fr_reranker_plugin.scoring.forward import int8

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "recipes").glob("*.md")])
LONG = {"haystack_rag.py", "langchain_rag.py", "vos_documents.py"}  # see test_examples.py
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if path.name not in LONG)


def code_blocks():
    for page in PAGES:
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL), start=1):
            yield pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")


def run_python(*arguments):
    """Run the interpreter as a reader would, outside the repository's sources, with a clean warning filter."""
    offline = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=offline, capture_output=True, text=True, timeout=110, check=False
    )


@pytest.mark.parametrize("block", list(code_blocks()))
def test_the_code_in_readme_and_docs_runs(block, tmp_path):
    script = tmp_path / "block.py"
    script.write_text(block)
    result = run_python(str(script))
    if 'dtype="int8"' in block and "onnx" not in block and not int8.is_supported():
        assert "dtype 'int8' needs a CPU with" in result.stderr
    else:
        assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_run_offline_and_print_passages(example):
    result = run_python(str(example))
    assert result.returncode == 0, result.stderr[-2000:]
    assert len(result.stdout.splitlines()) >= 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def test_the_readme_names_the_command_that_ci_runs():
    assert "make test" in (ROOT / "README.md").read_text()
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_version_has_a_place_in_the_changelog():
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_capacity_table_is_computed_from_the_measured_throughput():
    cells = re.compile(
        r"^\| (Intel|AMD)[^|]*\| `(\w+)` \| ([\d.]+) \| ([\d.]+) \| (\d+) \| ([\d.]+) h \|$", re.MULTILINE
    )
    rows = cells.findall((ROOT / "docs" / "guides" / "scale.md").read_text())
    assert len(rows) == 6
    for machine, dtype, measured, questions, machines, hours in rows:
        result = "cpu-throughput.md" if machine == "Intel" else "cpu-amd-throughput.md"
        page = (ROOT / "benchmarks" / "results" / result).read_text()
        name = {"int8": "ours int8", "bfloat16": "ours bf16", "float32": "ours fp32"}[dtype]
        bulk, requests = (
            float(re.search(rf"^## {suite}$.*?^\| {name} \| ([\d.]+) ", page, re.MULTILINE | re.DOTALL)[1])
            for suite in ("W1", "k20")
        )
        assert float(measured) == requests
        assert float(questions) == pytest.approx(requests * 0.7 / 20, abs=0.005)
        assert int(machines) == math.ceil(10 * 20 / (requests * 0.7))
        assert float(hours) == pytest.approx(1e6 / bulk / 3600, abs=0.05)
