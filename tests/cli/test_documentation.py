"""The guide's examples print what the guide says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
GUIDE = REPOSITORY / "docs" / "guides" / "command-line.md"
TIMEOUT = 100
# versions, paths, speeds, the last bits of a logit
DIFFERENT_EVERYWHERE = ("fr-reranker info", "fr-reranker demo", "fr-reranker bench", "fr-reranker verify")


def examples() -> dict[str, str]:
    """Each command of the guide with its output."""
    blocks = re.findall(r"^```console\n\$ (.+)\n((?:.*\n)*?)```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    return {command: output for command, output in blocks if not command.startswith(DIFFERENT_EVERYWHERE)}


def without_decimals(text: str) -> str:
    """The text with # for 0.1234: the last digits depend on the machine."""
    return re.sub(r"-?\d+\.\d+", "#", re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE))


def test_there_are_examples() -> None:
    assert len(examples()) >= 4


@pytest.mark.parametrize("command", examples())
def test_an_example_prints_what_the_guide_shows(command: str) -> None:
    done = subprocess.run(
        ["bash", "-c", command],  # noqa: S607 -- whichever the developer has
        cwd=REPOSITORY,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )
    assert without_decimals(done.stdout) == without_decimals(examples()[command])
