"""What others have published about French rerankers and first stages, each figure with its source.

These are not measurements of ours: a report shows them in a column of their own, headed "published".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

_FILE: Final = "published_figures.json"


@dataclass(frozen=True, slots=True)
class PublishedFigure:
    """One value that the authors of a model, or a copy of their page, report.

    :param model: A name on the Hub.
    :param measure: In the notation of ir-measures, such as `RR@10`, `R@100` or `Rprec`.
    :param value: In percent, 0..100.
    :param protocol: The short name of the test: `pool`, `full-corpus` or `train-queries`. Figures of different
        protocols cannot be compared.
    :param description: The queries of the test, and what was ranked.
    :param comparable: Whether the test is one that is still used; figures of an old one are quoted here and there.
    :param source: The URL where the figure was read.
    :param read_on: When it was read, as `2026-11-23`.
    :param note: What a reader must know of the source, or empty.
    """

    model: str
    measure: str
    value: float
    protocol: str
    description: str
    comparable: bool
    source: str
    read_on: str
    note: str = ""


def published_figures(model: str) -> list[PublishedFigure]:
    """Give what is published of `model`, by protocol; empty if nothing was found.

    :param model: A name on the Hub, such as `antoinelouis/crossencoder-me5-base-mmarcoFR`.
    """
    return [figure for figure in all_figures() if figure.model == model]


@cache
def all_figures() -> tuple[PublishedFigure, ...]:
    """Give every published figure that this package knows, models of one protocol together, the best first."""
    content = json.loads((files(__package__) / _FILE).read_text(encoding="utf-8"))
    return tuple(figure for row in content["rows"] for figure in _figures_of(row, content))


def _figures_of(row: dict[str, Any], content: dict[str, Any]) -> Iterator[PublishedFigure]:
    protocol = content["protocols"][row["protocol"]]
    for measure, value in row["figures"].items():
        yield PublishedFigure(
            model=row["model"],
            measure=measure,
            value=value,
            protocol=row["protocol"],
            description=protocol["description"],
            comparable=protocol["comparable"],
            source=row["source"],
            read_on=content["read_on"],
            note=row.get("note", ""),
        )
