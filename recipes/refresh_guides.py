"""Rerun the commands that the guides show, and write what they print below them.

    python recipes/refresh_guides.py [PAGE ...]

A command stands in a block of the kind `console`, after a dollar sign. Run it after the embedded models or the texts of
the command line have changed, with `fr-reranker` on the path.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMAND_BLOCK = re.compile(r"^```console\n\$ (.+)\n(?:.*\n)*?```$", re.MULTILINE)


def rerun(block: re.Match[str]) -> str:
    """Give the block with what its command prints today, and no path of this machine."""
    environment = os.environ | {"COLUMNS": "100"}
    result = subprocess.run(
        ["bash", "-c", block[1]],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    output = re.sub(r"[ \t]+$", "", result.stdout, flags=re.MULTILINE).replace(f"{ROOT}/", "…/")
    return f"```console\n$ {block[1]}\n{output}```"


def main(pages: list[str]) -> None:
    """Refresh `pages`, or every guide."""
    for page in map(Path, pages) if pages else sorted((ROOT / "docs").rglob("*.md")):
        page.write_text(COMMAND_BLOCK.sub(rerun, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
