"""The page that tells where trained weights come from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fr_reranker_plugin.scoring.settings import EMBEDDED
from fr_reranker_plugin.training.history import MEASURES

_POINTS: Final = 100
_DIGITS: Final = 16


def model_card(report: Mapping[str, Any]) -> str:
    """Write the card of a finished run as Markdown.

    :param report: What `training.json` holds.
    """
    return (
        "\n".join([*_front(report), *_use(report), *_origin(report), *_figures(report), *_reproduction(report)]) + "\n"
    )


def _front(report: Mapping[str, Any]) -> Iterator[str]:
    start = report["recipe"]["model"]
    yield "---"
    yield "language: fr"
    yield "pipeline_tag: text-ranking"
    if start != EMBEDDED and start.count("/") == 1 and not Path(start).exists():
        yield f"base_model: {json.dumps(start)}"
    yield "---"
    yield ""


def _use(report: Mapping[str, Any]) -> Iterator[str]:
    yield "# A cross-encoder for French passages"
    yield ""
    yield "It gives a question and a passage one logit; the score is `sigmoid(logit)`, from 0 to 1."
    yield ""
    yield "```python"
    yield "from sentence_transformers import CrossEncoder"
    yield ""
    yield 'scores = CrossEncoder("path/to/this/folder").predict([("question", "passage")])'
    yield "```"
    yield ""
    learnt = report["recipe"]["max_length"]
    yield f"A pair may have {report['reading_length']} tokens; {learnt} were read while it learnt."
    yield ""


def _origin(report: Mapping[str, Any]) -> Iterator[str]:
    facts, start = report["rows"], report["start"]
    yield "## Where it comes from"
    yield ""
    yield f"Trained from `{report['recipe']['model']}` (checksum `{start}`) with fr-reranker-plugin."
    yield "The licences of that model and of the data below decide how it may be used."
    yield ""
    yield "| data | SHA-256 |"
    yield "|---|---|"
    for one in report["data"]:
        yield f"| {one['file']} | `{one['sha256'][:_DIGITS]}…` |"
    yield ""
    yield (
        f"{facts['examples']:,} questions, {facts['pairs']:,} pairs: {facts['positives']:,} positives and "
        f"{facts['negatives']:,} negatives; {facts['left_out']:,} questions taught nothing and were left out."
    )
    yield ""


def _figures(report: Mapping[str, Any]) -> Iterator[str]:
    yield "## Measured"
    yield ""
    yield f"Weights after step {report['kept_step']} of {report['last_step']}; {report['steps']} were planned."
    yield ""
    if dev := report["dev"]:
        yield f"Dev: {dev['name']} ({dev['questions']} questions). They chose the checkpoint, so they flatter it."
        if dev["trained_on"]:
            yield f"{dev['trained_on']} of them were trained on, too."
        yield ""
        yield "| × 100 | at the start | kept |"
        yield "|---|--:|--:|"
        for name in MEASURES:
            yield f"| {name} | {_POINTS * dev['start'][name]:.2f} | {_POINTS * dev['kept'][name]:.2f} |"
    else:
        yield "There were no dev questions: whether it ranks better than its start is not known."
    yield ""
    yield "![Curves of loss and dev quality](curves.png)"
    yield ""


def _reproduction(report: Mapping[str, Any]) -> Iterator[str]:
    yield "## How to make it again"
    yield ""
    if report["command"]:
        yield "```bash"
        yield report["command"]
        yield "```"
        yield ""
    yield "| value | |"
    yield "|---|---|"
    for name, value in {**report["recipe"], "precision": report["precision"]}.items():
        yield f"| {name} | {value} |"
    yield ""
    yield "| version | |"
    yield "|---|---|"
    for name, value in report["versions"].items():
        yield f"| {name} | {value} |"
    machine = report["machine"]
    yield f"| machine | {machine.get('processor')}, {machine.get('cores')} cores, GPUs: {machine.get('gpus', 'none')} |"
