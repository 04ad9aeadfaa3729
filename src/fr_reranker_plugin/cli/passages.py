"""Reading the passages to rerank: text lines, JSON, JSONL, or a BEIR corpus."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from fr_reranker_plugin.cli.source import STANDARD_INPUT, Source, read_source, readable
from fr_reranker_plugin.collections import load_corpus
from fr_reranker_plugin.collections.written_passages import EXPECTED_PASSAGE, InputPassage, passage_of
from fr_reranker_plugin.errors import CollectionError

_CORPUS_FILE: Final = "corpus.jsonl"
_LOOKS_LIKE_JSON_LIST: Final = re.compile(r"\[\s*(?:[{\"\]]|null)")
_LOOKS_LIKE_JSON_LINE: Final = re.compile(r"\{\s*[\"}]")


class PassageFormat(StrEnum):
    """How passages are written."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"
    BEIR = "beir"


_BY_SUFFIX: Final = {
    ".jsonl": PassageFormat.JSONL,
    ".ndjson": PassageFormat.JSONL,
    ".json": PassageFormat.JSON,
    ".txt": PassageFormat.TEXT,
}


def read_passages(argument: str, form: PassageFormat = PassageFormat.AUTO) -> list[InputPassage]:
    """Read all passages of a file, a BEIR folder, or standard input (`-`).

    :raises CollectionError: If it cannot be read or is malformed: says where, what was expected, and what was found.
    """
    path = Path(argument)
    if argument != STANDARD_INPUT and (path.is_dir() or _is_beir(path, form)):
        with readable(argument):
            corpus = load_corpus(path / _CORPUS_FILE if path.is_dir() else path)
        return [InputPassage(passage.full_text, identifier) for identifier, passage in corpus.items()]
    source = read_source(argument)
    if form is PassageFormat.AUTO:
        form = _BY_SUFFIX.get(path.suffix.lower()) or format_of(source.text)
    if form is PassageFormat.TEXT:
        return [InputPassage(line.strip()) for _, line in source.lines()]
    return _read_json(source) if form is PassageFormat.JSON else _read_json_lines(source)


def format_of(text: str) -> PassageFormat:
    """Tell the format of a text from its first characters.

    What starts like JSON is JSON even if it is broken further on: an error is of more use than a ranking of braces.
    """
    start = text.lstrip()
    if _LOOKS_LIKE_JSON_LIST.match(start):
        return PassageFormat.JSON
    return PassageFormat.JSONL if _LOOKS_LIKE_JSON_LINE.match(start) else PassageFormat.TEXT


def _is_beir(path: Path, form: PassageFormat) -> bool:
    return form is PassageFormat.BEIR or (form is PassageFormat.AUTO and path.name == _CORPUS_FILE)


def _read_json(source: Source) -> list[InputPassage]:
    try:
        items = json.loads(source.text) if source.text.strip() else []
    except json.JSONDecodeError as error:
        hint = f"{error.msg}; --format jsonl reads one object a line, --format text one passage a line"
        raise source.error(
            error.lineno, "a JSON list of passages", f"{_line(source, error.lineno)!r} ({hint})"
        ) from None
    if not isinstance(items, list):
        raise CollectionError(f"{source.name}: expected a JSON list of passages, found {type(items).__name__}")
    return [_passage(item, source, number, unit="item") for number, item in enumerate(items, start=1)]


def _read_json_lines(source: Source) -> list[InputPassage]:
    return [
        _passage(item, source, number, unit="line") for number, item in source.json_lines(expected=EXPECTED_PASSAGE)
    ]


def _passage(item: Any, source: Source, number: int, *, unit: str) -> InputPassage:  # noqa: ANN401 -- JSON is anything
    return passage_of(item, lambda expected, found: source.error(number, expected, found, unit=unit))


def _line(source: Source, number: int) -> str:
    return source.text.split("\n")[number - 1].strip()[:60]
