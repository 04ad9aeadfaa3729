"""Reading the passages to rerank: text lines, JSON, JSONL, or a BEIR corpus."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from fr_reranker_plugin.cli.source import STANDARD_INPUT, Source, read_source, readable
from fr_reranker_plugin.collections import Passage, load_corpus
from fr_reranker_plugin.errors import CollectionError

_TEXT_FIELDS: Final = ("text", "content", "page_content")
_ID_FIELDS: Final = ("_id", "id")
_EXPECTED: Final = "a string or an object with 'text', 'content' or 'page_content'"
_CORPUS_FILE: Final = "corpus.jsonl"
_LOOKS_LIKE_JSON_LIST: Final = re.compile(r"\[\s*(?:[{\"\]]|null)")
_LOOKS_LIKE_JSON_LINE: Final = re.compile(r"\{\s*[\"}]")


_METADATA_FIELDS: Final = ("metadata", "meta")
_NO_METADATA: Final[Mapping[str, Any]] = MappingProxyType({})


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


class InputPassage(NamedTuple):
    """One passage as the model reads it, its title on a line of its own, its id if it has one, and its metadata."""

    text: str
    id: str | int | None = None
    metadata: Mapping[str, Any] = _NO_METADATA


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
    return [_passage(item, source, number, unit="line") for number, item in source.json_lines(expected=_EXPECTED)]


def _passage(item: Any, source: Source, number: int, *, unit: str) -> InputPassage:  # noqa: ANN401 -- JSON is anything
    if isinstance(item, str):
        return InputPassage(item)
    if not isinstance(item, dict):
        raise source.error(number, _EXPECTED, type(item).__name__, unit=unit)
    field = next((name for name in _TEXT_FIELDS if name in item), None)
    if field is None:
        raise source.error(number, _EXPECTED, f"an object with {', '.join(map(repr, item)) or 'nothing'}", unit=unit)
    for name in (field, "title"):
        if not isinstance(item.get(name) or "", str):
            raise source.error(number, f"a string in {name!r}", type(item[name]).__name__, unit=unit)
    metadata = next((item[name] for name in _METADATA_FIELDS if item.get(name) is not None), _NO_METADATA)
    if not isinstance(metadata, Mapping):
        raise source.error(number, "an object in 'metadata'", type(metadata).__name__, unit=unit)
    return InputPassage(Passage(item.get("title") or "", item[field] or "").full_text, _identifier(item), metadata)


def _identifier(item: Mapping[str, Any]) -> str | int | None:
    value = next((item[name] for name in _ID_FIELDS if item.get(name) is not None), None)
    return value if value is None or isinstance(value, (str, int)) else str(value)


def _line(source: Source, number: int) -> str:
    return source.text.split("\n")[number - 1].strip()[:60]
