"""Rankings as TREC runs, which other tools measure with the same figures as we do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Final

from fr_reranker_plugin.collections import write_trec_run
from fr_reranker_plugin.errors import CollectionError
from fr_reranker_plugin.evaluation.pools import falling_scores
from fr_reranker_plugin.evaluation.report import Measured
from fr_reranker_plugin.evaluation.results import Row

_BELOW: Final = 1.0
"""What separates the passages that were not reranked from those that were, on the scale of logits."""


def write_runs(measured: Measured, folder: Path) -> Iterator[Path]:
    """Write one run for each row, and yield their paths. First stages without an order have none.

    :raises CollectionError: After all others are written, if one was not because of an id with white space.
    """
    folder.mkdir(exist_ok=True)
    names, refused = file_names(measured), None
    for row in measured.rows:
        parts = (names[row.stage], "" if row.model is None else names[row.model], _size(row), _weight(row))
        tag = "-".join(part for part in parts if part)
        path = folder / f"{tag}.trec"
        try:
            write_trec_run(path, _scored(measured, row), tag=tag)
        except CollectionError as error:
            refused = error
        else:
            yield path
    if refused is not None:
        raise refused


def file_names(measured: Measured) -> dict[str, str]:
    """Give first stages and models as names of files may have them.

    Of paths they have the end, with as many folders before it as tell all of them apart.
    """
    names = {row.stage for row in measured.rows} | {row.model for row in measured.rows if row.model is not None}
    deepest = max(len(PurePath(name).parts) for name in names)
    for ends in range(1, deepest + 1):
        found = {name: file_name(name, ends=ends) for name in names}
        if len(set(found.values())) == len(found):
            break
    return found


def file_name(name: str, *, ends: int = 1) -> str:
    """Give a name as a file may have it: of a path only the last parts; letters, digits, dots and dashes."""
    end = "/".join(PurePath(name).parts[-ends:])
    return "".join(one if one.isalnum() or one in "._" else "-" for one in end)


def _scored(measured: Measured, row: Row) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    evaluation = measured.evaluation
    key = None if row.model is None else measured.models[row.model].key
    for rankings in evaluation.rankings(row.stage, key, row.pool, row.weight):
        for query, passages in rankings.items():
            pool = passages if key is None else evaluation.pool(row.stage, query, row.pool)
            if key is None:
                known = evaluation.scores(row.stage, query)
            else:
                known = evaluation.blended_logits(key, query, pool, row.weight)
            scores: list[float] = []
            for passage in passages:
                scores.append(known[passage] if passage in known else scores[-1] - _BELOW)
            yield query, list(zip(passages, falling_scores(scores), strict=True))


def _weight(row: Row) -> str:
    return f"weight-{row.weight:g}" if row.weight else ""


def _size(row: Row) -> str:
    return "" if row.model is None else str(row.pool or "all")
