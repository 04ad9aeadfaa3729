"""Filters on the content, which a document may lack: the index keeps an empty text for it, and a mark."""

from collections.abc import Mapping
from typing import Any, Final

from haystack_integrations.document_stores.fr_reranker.conversion import REST

_HAS_NO_CONTENT: Final = {"field": f"meta.{REST}.no_content", "operator": "==", "value": True}
_HAS_CONTENT: Final = {**_HAS_NO_CONTENT, "operator": "!="}


def to_filter(given: Any) -> Any:  # noqa: ANN401 -- the index checks it
    """Give a filter that says of what the index keeps what `given` says of Haystack's documents.

    The content of a document without one is `None`. What is malformed is passed on, for the index to say what is wrong.
    """
    if not isinstance(given, Mapping):
        return given
    if "field" in given:
        return _on_content(given) if given["field"] == "content" else given
    conditions = given.get("conditions")
    if not isinstance(conditions, (list, tuple)):
        return given
    return {**given, "conditions": [to_filter(condition) for condition in conditions]}


def _on_content(comparison: Mapping[str, Any]) -> dict[str, Any]:
    if _holds_for_none(comparison.get("operator"), comparison.get("value")):
        return {"operator": "OR", "conditions": [_HAS_NO_CONTENT, comparison]}
    return {"operator": "AND", "conditions": [_HAS_CONTENT, comparison]}


def _holds_for_none(operator: object, value: object) -> bool:
    if operator in ("in", "not in"):
        return isinstance(value, list) and (None in value) == (operator == "in")
    return operator in ("==", "!=") and (value is None) == (operator == "==")
