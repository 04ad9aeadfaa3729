import runpy
import sys
from importlib.resources import files
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "haystack_pipeline.py"

pytestmark = pytest.mark.skipif(
    not (Path(str(files("fr_reranker_plugin"))) / "models" / "cross_encoder" / "config.json").is_file(),
    reason="this checkout has no embedded cross-encoder",
)


def test_the_example_prints_five_passages_best_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "Comment déclarer une naissance ?"])
    runpy.run_path(str(EXAMPLE))
    question, *lines = capsys.readouterr().out.splitlines()
    scores = [float(line.split()[0]) for line in lines]
    assert question == "Comment déclarer une naissance ?"
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
