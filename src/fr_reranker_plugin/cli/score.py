"""`fr-reranker score`: one score per (query, passage) pair."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fr_reranker_plugin.cli.calibration import CalibrationOption, read_calibration
from fr_reranker_plugin.cli.long_documents import LongDocumentsOption, LongPassages, WindowOverlapOption, reading
from fr_reranker_plugin.cli.model_options import ModelOptions, with_model_options
from fr_reranker_plugin.cli.printing import note, print_json_list
from fr_reranker_plugin.cli.source import Source, read_source

if TYPE_CHECKING:
    from fr_reranker_plugin.scoring.calibration import Calibration
    from fr_reranker_plugin.scoring.candidates import Scored

_FIELDS: Final = ("query", "passage")
_EXPECTED: Final = "an object with the strings 'query' and 'passage'"


class PairFormat(StrEnum):
    """How pairs are written."""

    AUTO = "auto"
    JSONL = "jsonl"
    TSV = "tsv"


@with_model_options
def score(  # noqa: PLR0913 -- each parameter is an option of the command
    options: ModelOptions,
    file: Annotated[str, typer.Argument(help="A file, or - for standard input.")] = "-",
    *,
    pair_format: Annotated[
        PairFormat, typer.Option("--format", help="How the pairs are written; auto looks.")
    ] = PairFormat.AUTO,
    raw_scores: Annotated[bool, typer.Option("--raw-scores", help="Logits instead of scores from 0 to 1.")] = False,
    calibration: CalibrationOption = None,
    long_documents: LongDocumentsOption = LongPassages.TRUNCATE,
    window_overlap: WindowOverlapOption = 64,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list, one object a line.")] = False,
) -> None:
    """Score pairs of a query and a passage, one line each, in the order of the file.

    Pairs are JSON lines ({"query": …, "passage": …}) or two columns with a tab between them.
    """
    calibrated = read_calibration(calibration, model=options.model, raw_scores=raw_scores)
    source = read_source(file)
    pairs = read_pairs(source, pair_format)
    if not pairs:
        note(f"no pairs in {file}; nothing to score")
    scored = _scored(options, pairs, long_documents, window_overlap) if pairs else []
    rows = [_row(index, one, calibrated) for index, one in enumerate(scored)]
    if as_json:
        print_json_list(rows)
        return
    for row in rows:
        print(f"{row['logit' if raw_scores else 'score']:.9g}")


def read_pairs(source: Source, form: PairFormat = PairFormat.AUTO) -> list[tuple[str, str]]:
    """Read all pairs.

    :raises CollectionError: If a line is malformed.
    """
    if form is PairFormat.AUTO:
        is_json = Path(source.name).suffix.lower() in (".jsonl", ".ndjson") or source.text.lstrip().startswith("{")
        form = PairFormat.JSONL if is_json else PairFormat.TSV
    return _read_json_lines(source) if form is PairFormat.JSONL else _read_columns(source)


def _read_json_lines(source: Source) -> list[tuple[str, str]]:
    pairs = []
    for number, row in source.json_lines(expected=_EXPECTED):
        if not isinstance(row, dict):
            raise source.error(number, _EXPECTED, type(row).__name__)
        for name in _FIELDS:
            if not isinstance(row.get(name), str):
                found = f"{name!r} of type {type(row[name]).__name__}" if name in row else f"no {name!r}"
                raise source.error(number, _EXPECTED, found)
        pairs.append((row["query"], row["passage"]))
    return pairs


def _read_columns(source: Source) -> list[tuple[str, str]]:
    pairs = []
    for number, line in source.lines():
        columns = line.split("\t")
        if len(columns) != len(_FIELDS):
            raise source.error(number, "2 columns with a tab between them (query, passage)", str(len(columns)))
        pairs.append((columns[0], columns[1]))
    return pairs


def _scored(options: ModelOptions, pairs: Sequence[tuple[str, str]], rule: LongPassages, overlap: int) -> list[Scored]:
    """Score the pairs; a passage without text gets the lowest score and is not shown to the model."""
    from fr_reranker_plugin.cli.scoring import opened_scorer, score_candidates
    from fr_reranker_plugin.scoring.candidates import Candidates

    groups = [Candidates.from_passages(query, [passage if passage.strip() else None]) for query, passage in pairs]
    with opened_scorer(options) as scorer:
        return score_candidates(reading(scorer, rule, overlap=overlap), groups)


def _row(index: int, scored: Scored, calibration: Calibration | None) -> dict[str, Any]:
    from fr_reranker_plugin.scoring.ranking import reported_score

    return {
        "index": index,
        "score": reported_score(scored.logits[0], calibration=calibration),
        "logit": scored.logits[0],
        "truncated": bool(scored.truncated),
        **scored.found(0),
    }
