"""Metadata filters in LangChain's form and in Haystack's, brought to the one that the index knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fr_reranker_plugin.errors import FilterError
from fr_reranker_plugin.retrieval.filters import Filter, compile_filter

_COMPARISONS: Final = {
    "$eq": "==", "$ne": "!=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<=", "$in": "in", "$nin": "not in",
}  # fmt: skip
_LOGIC: Final = {"$and": "AND", "$or": "OR"}
_NOT: Final = "$not"


def to_filter(given: Mapping[str, Any] | None) -> Filter | None:
    """Give a filter in the form that `DenseIndex` takes.

    LangChain's form: `{"year": 2020, "town": "Lyon"}` (both), `{"town": ["Lyon", "Paris"]}` (one of them),
    `{"year": {"$gte": 2020, "$lt": 2024}}`, and `{"$or": [...]}`, `{"$and": [...]}`, `{"$not": {...}}`. Comparisons:
    `$eq`, `$ne`, `$gt`, `$gte`, `$lt`, `$lte`, `$in`, `$nin`, and `$not` around others. Its names are metadata keys;
    dots go into nested dictionaries. A missing value is `None`.

    Haystack's form, a dictionary with `operator` and `field` or `conditions`, is taken as it is.

    :param given: `None` and an empty one match everything.
    :raises FilterError: If it is malformed.
    """
    if given is None or given == {}:
        return None
    filters = _condition(given)
    compile_filter(filters)
    return filters


def _condition(given: object) -> Filter:
    if not isinstance(given, Mapping):
        raise FilterError(f"a filter must be a dictionary, got {type(given).__name__}")
    if "operator" in given and ("field" in given or "conditions" in given):
        return given
    return _all([_entry(key, value) for key, value in given.items()])


def _entry(key: object, value: object) -> Filter:
    if not isinstance(key, str):
        raise FilterError(f"the keys of a filter must be strings, got {key!r}")
    if key == _NOT:
        return _none_of(_condition(value))
    if key in _LOGIC:
        if not isinstance(value, (list, tuple)):
            raise FilterError(f"the value of {key!r} must be a list of filters, got {type(value).__name__}")
        return {"operator": _LOGIC[key], "conditions": [_condition(part) for part in value]}
    if key.startswith("$"):
        raise FilterError(f"unknown logical operator {key!r}; expected one of {', '.join([*_LOGIC, _NOT])}")
    return _field("meta." + key, value)


def _field(field: str, value: object) -> Filter:
    if isinstance(value, Mapping) and any(isinstance(name, str) and name.startswith("$") for name in value):
        return _all([_comparison(field, name, wanted) for name, wanted in value.items()])
    return _comparison(field, "$in" if isinstance(value, (list, tuple, set, frozenset)) else "$eq", value)


def _comparison(field: str, name: str, wanted: object) -> Filter:
    if name == _NOT:
        return _none_of(_field(field, wanted))
    if name not in _COMPARISONS:
        known = ", ".join([*_COMPARISONS, _NOT])
        raise FilterError(f"unknown comparison {name!r} for {field.removeprefix('meta.')!r}; expected one of {known}")
    value = list(wanted) if isinstance(wanted, (tuple, set, frozenset)) else wanted
    return {"field": field, "operator": _COMPARISONS[name], "value": value}


def _all(conditions: list[Filter]) -> Filter:
    return conditions[0] if len(conditions) == 1 else {"operator": "AND", "conditions": conditions}


def _none_of(condition: Filter) -> Filter:
    return {"operator": "NOT", "conditions": [condition]}
