"""What a text must be, and how it is read where UTF-8 has no bytes for it."""

from __future__ import annotations

from collections.abc import Sequence

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.scorer import Pair


def encodable(text: str) -> str:
    """Give the text with lone surrogates (half characters, from broken files) as question marks: UTF-8 has none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def check_pairs(pairs: Sequence[Pair]) -> None:
    """Refuse pairs before any of them is tokenised.

    :raises SettingsError: If a query or a passage is not a string; with its place.
    """
    for position, (query, passage) in enumerate(pairs):
        _check_string("query", query, position)
        _check_string("passage", passage, position)


def _check_string(name: str, text: object, position: int) -> None:
    if not isinstance(text, str):
        raise SettingsError(f"the {name} of pair {position} must be a string, got {type(text).__name__}")
