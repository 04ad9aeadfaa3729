"""Passages as people write them in JSON: a string, or an object with a text and perhaps a title, an id and metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from fr_reranker_plugin.collections.judged import Passage
from fr_reranker_plugin.errors import CollectionError

EXPECTED_PASSAGE: Final = "a string or an object with 'text', 'content' or 'page_content'"

_TEXT_FIELDS: Final = ("text", "content", "page_content")
_ID_FIELDS: Final = ("_id", "id")
_METADATA_FIELDS: Final = ("metadata", "meta")
_NO_METADATA: Final[Mapping[str, Any]] = MappingProxyType({})

Refuse = Callable[[str, str], CollectionError]
"""Gives the error of a place in a file, for what was expected there and what was found."""


class InputPassage(NamedTuple):
    """One passage as the model reads it, its title on a line of its own, its id if it has one, and its metadata."""

    text: str
    id: str | int | None = None
    metadata: Mapping[str, Any] = _NO_METADATA


def passage_of(item: Any, refuse: Refuse) -> InputPassage:  # noqa: ANN401 -- JSON is anything
    """Read a passage from a JSON value; an object's text may be `null`, which is an empty one.

    :raises CollectionError: As `refuse` makes it, if the value is no passage.
    """
    if isinstance(item, str):
        return InputPassage(item)
    if not isinstance(item, dict):
        raise refuse(EXPECTED_PASSAGE, type(item).__name__)
    field = next((name for name in _TEXT_FIELDS if name in item), None)
    if field is None:
        raise refuse(EXPECTED_PASSAGE, f"an object with {', '.join(map(repr, item)) or 'nothing'}")
    for name in (field, "title"):
        if not isinstance(item.get(name) or "", str):
            raise refuse(f"a string in {name!r}", type(item[name]).__name__)
    metadata = next((item[name] for name in _METADATA_FIELDS if item.get(name) is not None), _NO_METADATA)
    if not isinstance(metadata, Mapping):
        raise refuse("an object in 'metadata'", type(metadata).__name__)
    return InputPassage(Passage(item.get("title") or "", item[field] or "").full_text, id_of(item), metadata)


def id_of(item: Mapping[str, Any]) -> str | int | None:
    """Give the id that an object has in `_id` or `id`, if it has one."""
    value = next((item[name] for name in _ID_FIELDS if item.get(name) is not None), None)
    return value if value is None or isinstance(value, (str, int)) else str(value)
