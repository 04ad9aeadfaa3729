"""Putting results on standard output, and everything else on standard error."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]+")


def note(message: str) -> None:
    """Tell the user something that is not a result."""
    print(f"fr-reranker: {message}", file=sys.stderr)


def results() -> Console:
    """Give the console for results: as wide as the terminal; plain text where it is none, or where NO_COLOR is set."""
    from rich.console import Console

    return Console(highlight=False)


def one_line(text: str, style: str = "") -> Text:
    """Give text from a file for a table: on one line, nothing in it that the terminal would obey."""
    from rich.text import Text

    return Text(_CONTROL.sub(" ", text).strip(), style=style)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and what is known of them as two columns; underscores in names become spaces."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name.replace("_", " "), one_line(value))
    results().print(table)


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object, indented."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def print_json_list(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print a JSON list with one object a line, which both `jq` and `grep` can read."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    print(f"[\n{lines}\n]" if lines else "[]")
