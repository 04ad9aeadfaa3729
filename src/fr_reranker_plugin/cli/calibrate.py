"""`fr-reranker calibrate`: make probabilities of a model's logits, by judged pairs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fr_reranker_plugin.cli.long_documents import LongDocumentsOption, LongPassages, WindowOverlapOption, reading
from fr_reranker_plugin.cli.model_options import ModelOptions, with_model_options
from fr_reranker_plugin.cli.printing import note, print_facts, print_json
from fr_reranker_plugin.cli.source import Source, read_source
from fr_reranker_plugin.errors import SettingsError

if TYPE_CHECKING:
    from fr_reranker_plugin.evaluation.judged_pairs import JudgedPair
    from fr_reranker_plugin.scoring.calibration import Calibration, CalibrationReport

_EXPECTED: Final = "an object with the strings 'query' and 'passage', and a 'label' of 0 or 1"


@with_model_options
def calibrate(  # noqa: PLR0913 -- each parameter is an option of the command
    options: ModelOptions,
    file: Annotated[str | None, typer.Argument(help="Judged pairs as JSON lines, or - for standard input.")] = None,
    *,
    collection: Annotated[Path | None, typer.Option(help="A judged collection, as a BEIR folder, instead.")] = None,
    split: Annotated[str, typer.Option(help="Which judgements of the collection: qrels/SPLIT.tsv.")] = "dev",
    candidates: Annotated[int, typer.Option(min=0, help="Passages by BM25 beside the judged ones.")] = 20,
    relevant_from: Annotated[int, typer.Option(min=1, help="The lowest grade that is relevant.")] = 1,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the queries, each measured by a fit on the others.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the division into folds.")] = 0,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("calibration.json"),
    long_documents: LongDocumentsOption = LongPassages.TRUNCATE,
    window_overlap: WindowOverlapOption = 64,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object: what the file holds.")] = False,
) -> None:
    """Fit temperature and bias, so that a score is the probability that a passage is relevant.

    Pairs are JSON lines ({"query": …, "passage": …, "label": 0 or 1}), or come from a judged collection: the judged
    passages of each question and the first ones by BM25; of these, one that is not judged counts as not relevant.
    Give the file to `rerank`, `score` or an adapter as its calibration. The order of passages stays as it is.
    """
    from fr_reranker_plugin.evaluation.calibration_fit import check_judgements, fit_calibration

    _check_output(output)
    pairs = _read_pairs(file, collection, split=split, candidates=candidates, relevant_from=relevant_from)
    relevant, queries = [pair.relevant for pair in pairs], [pair.query for pair in pairs]
    check_judgements(relevant, queries, folds=folds)
    logits = _logits(options, pairs, long_documents, window_overlap)
    fitted = fit_calibration(logits, relevant, queries=queries, folds=folds, seed=seed)
    calibration = replace(fitted, model=options.model, fingerprint=_fingerprint(options))
    calibration.save(output)
    if as_json:
        print_json(calibration.to_dict())
    elif calibration.report is not None:
        print_facts([*_facts(calibration, calibration.report), ("written to", str(output))])


def _check_output(path: Path) -> None:
    """Refuse a place that cannot be written to, before minutes are spent on the model."""
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise SettingsError(f"--output must be a file in a folder that is there and can be written to, got {path}")


def _read_pairs(
    file: str | None, collection: Path | None, *, split: str, candidates: int, relevant_from: int
) -> list[JudgedPair]:
    from fr_reranker_plugin.collections import load_collection
    from fr_reranker_plugin.evaluation.judged_pairs import judged_pairs

    if (file is None) == (collection is None):
        raise SettingsError("expected either a file with judged pairs or --collection, got both or neither")
    if file is not None:
        return _pairs_of_file(read_source(file))
    judged = load_collection(collection or "", split)
    if candidates:
        note(
            f"the first {candidates} passages of each question by BM25 count as not relevant where they are not judged"
        )
    return judged_pairs(judged, candidates=candidates, relevant_from=relevant_from)


def _pairs_of_file(source: Source) -> list[JudgedPair]:
    from fr_reranker_plugin.evaluation.judged_pairs import JudgedPair

    pairs = []
    for number, row in source.json_lines(expected=_EXPECTED):
        if not isinstance(row, dict):
            raise source.error(number, _EXPECTED, type(row).__name__)
        query, passage, label = (_field(row, name, source, number) for name in ("query", "passage", "label"))
        if not isinstance(query, str) or not isinstance(passage, str):
            raise source.error(number, _EXPECTED, f"{type(query).__name__} and {type(passage).__name__}")
        if label not in (0, 1):
            raise source.error(number, _EXPECTED, f"the label {label!r}")
        if query.strip() and passage.strip():
            pairs.append(JudgedPair(query, passage, bool(label)))
    return pairs


def _field(row: dict[str, Any], name: str, source: Source, number: int) -> Any:  # noqa: ANN401 -- JSON is anything
    if name not in row:
        raise source.error(number, _EXPECTED, f"no {name!r}")
    return row[name]


def _logits(options: ModelOptions, pairs: Sequence[JudgedPair], rule: LongPassages, overlap: int) -> Sequence[float]:
    from fr_reranker_plugin.cli.scoring import opened_scorer, score_pairs

    with opened_scorer(options) as scorer:
        texts = [(pair.query, pair.passage) for pair in pairs]
        return score_pairs(reading(scorer, rule, overlap=overlap), texts, label=f"scoring {len(pairs)} pairs")


def _fingerprint(options: ModelOptions) -> str:
    """Give a checksum of the model that scored; it lies on the disk by now."""
    from fr_reranker_plugin.retrieval.encoder_files import EncoderFiles
    from fr_reranker_plugin.scoring.checkpoint import find_checkpoint

    return EncoderFiles(find_checkpoint(options.model_settings())).fingerprint()


def _facts(calibration: Calibration, report: CalibrationReport) -> list[tuple[str, str]]:
    held_out = f"held out: {report.folds} folds by query"
    return [
        ("pairs", f"{report.pairs:,}, {report.relevant:,} of them relevant"),
        ("queries", f"{report.queries:,}"),
        ("temperature", f"{calibration.temperature:.4f}"),
        ("bias", f"{calibration.bias:.4f}"),
        ("score of logit 0", f"0.5000 → {calibration.probability(0.0):.4f}"),
        ("ECE", f"{report.ece_before:.4f} → {report.ece_after:.4f} ({held_out})"),
        ("Brier", f"{report.brier_before:.4f} → {report.brier_after:.4f} ({held_out})"),
    ]
