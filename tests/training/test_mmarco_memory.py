"""Much more input needs hardly more memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from benchmarks.training_data import drawn, generate
import json
folder = Path(sys.argv[2])
for name, queries, passages in (("few", 100, 3_000), ("many", 3_000, 300_000)):
    place = folder / name
    place.mkdir()
    generate(place, queries=queries, passages=passages, scored=320)
    print(json.dumps(drawn(place, place / "examples.jsonl", queries)))
"""
_ALLOWED = 24 * 2**20
"""Sixteen bytes a passage, and the blocks of numpy; as Python objects, a million scores alone would take 150 MB."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read from the system's own counter")
def test_thirty_times_the_queries_and_a_hundred_times_the_passages_add_less_than_24_mb(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(root), str(tmp_path)], env=dict(os.environ), capture_output=True, text=True,
        timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    few, many = map(json.loads, done.stdout.splitlines())
    assert (few["made"]["pairs"], many["made"]["pairs"]) == (100, 3_000)
    assert many["peak_bytes"] - few["peak_bytes"] < _ALLOWED
