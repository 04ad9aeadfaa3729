"""Filters on what the index keeps in its own way: the content, which a document may lack, and the score."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from haystack import Document

from fr_reranker_plugin.errors import FilterError
from haystack_integrations.document_stores.fr_reranker.conversion import REST

_HAS_NO_CONTENT: Final = {"field": f"meta.{REST}.no_content", "operator": "==", "value": True}
_HAS_CONTENT: Final = {**_HAS_NO_CONTENT, "operator": "!="}
_SCORE: Final = f"meta.{REST}.score"
_REFUSED: Final = {field.name for field in fields(Document)} - {"id", "content", "score", "meta"}


def to_filter(given: Any) -> Any:  # noqa: ANN401 -- the index checks it
    """Give a filter that says of what the index keeps what `given` says of Haystack's documents.

    The content of a document without one is `None`. What is malformed is passed on, for the index to say what is wrong.

    :raises FilterError: If it compares a field that the index does not look into, such as the embedding.
    """
    if not isinstance(given, Mapping):
        return given
    if "field" in given:
        return _on_field(given, given["field"])
    conditions = given.get("conditions")
    if not isinstance(conditions, (list, tuple)):
        return given
    return {**given, "conditions": [to_filter(condition) for condition in conditions]}


def not_empty(given: Any) -> Any:  # noqa: ANN401 -- as above
    """Give a filter that selects what is changed: an empty one is a mistake there, such as a form left blank.

    :raises FilterError: If it is empty.
    """
    if not given:
        raise FilterError(
            f"expected a filter that says which documents, got {given!r}; delete_all_documents deletes all, and "
            '{"operator": "AND", "conditions": []} matches all'
        )
    return given


def _on_field(comparison: Mapping[str, Any], field: object) -> Mapping[str, Any]:
    if field == "content":
        return _on_content(comparison)
    if field == "score":
        return {**comparison, "field": _SCORE}
    if field == "meta" or (isinstance(field, str) and field.split(".")[0] in _REFUSED):
        raise FilterError(
            f"{field!r} cannot be filtered on; expected 'id', 'content', 'score', or a metadata key as 'meta.year', "
            f"also one of this name: 'meta.{field}'"
        )
    return comparison


def _on_content(comparison: Mapping[str, Any]) -> dict[str, Any]:
    if _holds_for_none(comparison.get("operator"), comparison.get("value")):
        return {"operator": "OR", "conditions": [_HAS_NO_CONTENT, comparison]}
    return {"operator": "AND", "conditions": [_HAS_CONTENT, comparison]}


def _holds_for_none(operator: object, value: object) -> bool:
    if operator in ("in", "not in"):
        return isinstance(value, list) and (None in value) == (operator == "in")
    return operator in ("==", "!=") and (value is None) == (operator == "==")
