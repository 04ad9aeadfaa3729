"""One table of several evaluations: `python -m benchmarks.evaluation_table FOLDER …`.

Each folder is one that `fr-reranker evaluate --out` has written for a collection. What is kept has no text of the
collections.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from fr_reranker_plugin.evaluation.markdown import as_markdown

RESULT: Final = Path(__file__).parent / "results" / "first-stages.json"


def without_texts(report: dict[str, Any]) -> dict[str, Any]:
    """Leave out the questions that were made worse, which show texts, and the whole threshold curves."""
    return report | {
        "made_worse": [],
        "thresholds": [{**found, "curve": []} for found in report["thresholds"]],
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Read the reports, and write them together as JSON and as one page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation_table", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--command", required=True, help="how the reports were made")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(argv)
    reports = [
        without_texts(json.loads((folder / "report.json").read_text(encoding="utf-8"))) for folder in options.folders
    ]
    content = json.dumps({"command": options.command, "reports": reports}, ensure_ascii=False, indent=1)
    options.out.write_text(content + "\n", encoding="utf-8")
    page = "\n".join([f"`{options.command}`\n", *(as_markdown(report) for report in reports)])
    options.out.with_suffix(".md").write_text(page, encoding="utf-8")
    sys.stdout.write(f"{options.out.with_suffix('.md')}\n")


if __name__ == "__main__":
    main()
