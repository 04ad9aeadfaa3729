"""Metadata filters: Haystack's form and meaning, compiled to SQL."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date
from typing import Any, Final, TypeGuard

from fr_reranker_plugin.errors import FilterError
from fr_reranker_plugin.retrieval.documents import canonical_json
from fr_reranker_plugin.retrieval.filter_functions import ORDERINGS, looks_like_date

Filter = Mapping[str, Any]
"""A comparison `{"field": "meta.year", "operator": ">", "value": 2020}` or `{"operator": "AND", "conditions": [...]}`.

Comparisons: `==`, `!=`, `>`, `>=`, `<`, `<=`, `in`, `not in`. Logic: `AND`, `OR`, `NOT` (not all of them).
Fields: `id`, `content` (the text), and `meta.key` or just `key`; dots go into nested dictionaries.
A missing value is `None`: it equals `None` and is neither larger nor smaller than anything.
"""

DEEPEST: Final = 16
"""How deep conditions may be nested once they are joined: the parser of SQLite gives up at 19."""

_Part = tuple[Any, bool]
"""A condition, and whether its contrary is meant."""

_COMPARISONS: Final = ("==", "!=", *ORDERINGS, "in", "not in")
_LOGIC: Final = ("AND", "OR", "NOT")
_PLAIN_KEY: Final = re.compile(r'[^"\\\x00-\x1f]+')
_COLUMNS: Final = {"id": "id", "content": "text"}
_DATE_GLOB: Final = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*"
_ENOUGH_APART: Final = "1e-12"
"""Numbers nearer than this, relative to their size, are compared in Python: SQLite reads decimals inexactly."""


def compile_filter(filters: Filter | None) -> tuple[str, list[Any]]:
    """Turn a filter into an SQL expression over the columns `id`, `text` and `metadata`, and its parameters.

    The expression is 0 or 1, never null. It numbers its parameters from `?1`; a plain `?` after it takes the next.

    :param filters: `None` and an empty one match everything.
    :raises FilterError: If the filter is malformed, or nested more than `DEEPEST` deep. What depends on the documents'
        values is raised by the search.
    """
    compiler = _Compiler()
    return compiler.condition(filters) if filters else "1", compiler.parameters


def compile_values(field: str, filters: Filter | None) -> tuple[str, str, list[Any]]:
    """Give the SQL for the JSON text of a field, the condition as `compile_filter` does, and the parameters of both.

    :param field: A metadata key, with or without `meta.`.
    :raises FilterError: As `compile_filter`.
    """
    compiler = _Compiler()
    value = compiler.value("meta." + field.removeprefix("meta."))
    return value, compiler.condition(filters) if filters else "1", compiler.parameters


class _Compiler:
    def __init__(self) -> None:
        self.parameters: list[Any] = []

    def condition(self, condition: object, *, negated: bool = False, depth: int = 0) -> str:
        """Give the SQL of a condition, or of its contrary: NOT goes down to the comparisons, and costs no depth."""
        if _is_comparison(condition):
            return self._comparison(condition, negated=negated)
        if depth == DEEPEST:
            raise FilterError(
                f"a filter is nested more than {DEEPEST} deep, AND inside AND and OR inside OR not counted; "
                "write it flatter"
            )
        every, parts = _joined(condition, negated=negated)
        if not parts:
            return str(int(every))
        # CASE goes from left to right and stops, as Python does: AND and OR of SQL would promise neither
        decisive = [self.condition(part, negated=contrary != every, depth=depth + 1) for part, contrary in parts]
        return f"CASE {' '.join(f'WHEN {part} THEN {int(not every)}' for part in decisive)} ELSE {int(every)} END"

    def _comparison(self, condition: Mapping[str, Any], *, negated: bool) -> str:
        field, comparison = condition["field"], _required(condition, "operator")
        wanted = _json_value(_required(condition, "value"))
        if not isinstance(field, str) or not field:
            raise FilterError(f"'field' must be the name of a field, got {field!r}")
        if comparison not in _COMPARISONS:
            raise FilterError(f"unknown comparison operator {comparison!r}; expected one of {', '.join(_COMPARISONS)}")
        if comparison in ORDERINGS:
            ordered = self._ordered(field, comparison, wanted)
            return f"(NOT {ordered})" if negated else ordered
        if comparison in ("in", "not in") and not isinstance(wanted, list):
            raise FilterError(f"the value of {comparison!r} must be a list, got {type(wanted).__name__}")
        choices = wanted if comparison in ("in", "not in") else [wanted]
        equal = self._column(field, choices) if field in _COLUMNS else self._equal(self.value(field), choices)
        return equal if (comparison in ("==", "in")) != negated else f"(NOT {equal})"

    def value(self, field: str) -> str:
        """Give the SQL for the JSON text of a field, which is null if there is no such field."""
        if field in _COLUMNS:
            return f"json_quote({_COLUMNS[field]})"
        if field == "meta":
            return "metadata"
        keys = field.removeprefix("meta.").split(".")
        if all(_PLAIN_KEY.fullmatch(key) for key in keys):
            path = "$" + "".join(f'."{key}"' for key in keys)
            return f"(metadata -> {self._bind(path)})"
        return f"filter_value(metadata, {self._bind(canonical_json(keys))})"

    def _equal(self, value: str, choices: list[Any]) -> str:
        """Compare JSON texts: each value has few, because metadata is written in one form."""
        texts = sorted({text for choice in choices for text in _texts_equal_to(choice)})
        known = f"coalesce({value}, 'null') IN {self._list(texts)}"
        is_date, is_nested = f"{value} GLOB '\"{_DATE_GLOB}'", f"{value} GLOB '[[{{]*'"
        dates = self._among(is_date, value, list(filter(looks_like_date, choices)))
        nested = self._among(is_nested, value, [choice for choice in choices if isinstance(choice, (list, dict))])
        return f"({known}{dates}{nested})"

    def _column(self, field: str, choices: list[Any]) -> str:
        """Compare a column that holds a string itself."""
        column = _COLUMNS[field]
        strings = [choice for choice in choices if isinstance(choice, str)]
        plain = [text for text in strings if "\0" not in text]  # json_each would end the others early
        known = f"{column} IN {self._list(plain)}"
        odd = "".join(f" OR {column} = {self._bind(text)}" for text in strings if "\0" in text)
        is_date = f"{column} GLOB '{_DATE_GLOB}'"
        dates = self._among(is_date, f"json_quote({column})", list(filter(looks_like_date, strings)))
        return f"({known}{odd}{dates})"

    def _among(self, worth_it: str, value: str, choices: list[Any]) -> str:
        """Compare in Python with choices that have more than one text, where the value may be one of them."""
        if not choices:
            return ""
        return f" OR CASE WHEN {worth_it} THEN filter_among({value}, {self._json(choices)}) ELSE 0 END"

    def _ordered(self, field: str, comparison: str, wanted: object) -> str:
        if wanted is None:
            return "0"
        if isinstance(wanted, (list, dict)):
            raise FilterError(f"{comparison!r} compares numbers or dates, got {type(wanted).__name__}")
        value = self.value(field)
        in_python = f"filter_ordered({value}, '{comparison}', {self._json(wanted)})"
        missing = f"coalesce({value}, 'null') = 'null'"
        if not isinstance(wanted, (int, float)):
            return f"CASE WHEN {missing} THEN 0 ELSE {in_python} END"
        number, bound = f"CAST({value} AS REAL)", self._bind(_as_float(wanted))
        apart = f"abs({number} - {bound}) > {_ENOUGH_APART} * abs({number})"
        is_number = f"{value} GLOB '[-0-9]*'"
        return (
            f"CASE WHEN {missing} THEN 0 WHEN {is_number} AND {apart} THEN {number} {comparison} {bound} "
            f"ELSE {in_python} END"
        )

    def _list(self, strings: list[str]) -> str:
        return f"(SELECT value FROM json_each({self._json(strings)}))"  # noqa: S608 -- a parameter, however many they are

    def _json(self, value: object) -> str:
        return self._bind(canonical_json(value))

    def _bind(self, value: object) -> str:
        self.parameters.append(value)
        return f"?{len(self.parameters)}"


def _is_comparison(condition: object) -> TypeGuard[Mapping[str, Any]]:
    if not isinstance(condition, Mapping):
        raise FilterError(f"a filter must be a dictionary, got {type(condition).__name__}")
    return "field" in condition


def _joined(condition: object, *, negated: bool) -> tuple[bool, list[_Part]]:
    """Give whether every part must hold, or any, and the parts, among them those of parts that are joined alike."""
    every, parts = _parts_of(condition, negated=negated)
    waiting, joined = parts[::-1], []
    while waiting:
        part, contrary = waiting.pop()
        if not _is_comparison(part):
            alike, inner = _parts_of(part, negated=contrary)
            if alike == every or len(inner) == 1:
                waiting += inner[::-1]
                continue
        joined.append((part, contrary))
    return every, joined


def _parts_of(condition: Any, *, negated: bool) -> tuple[bool, list[_Part]]:  # noqa: ANN401 -- no comparison
    logic = _required(condition, "operator")
    conditions = _required(condition, "conditions")
    if logic not in _LOGIC:
        raise FilterError(f"unknown logical operator {logic!r}; expected one of {', '.join(_LOGIC)}")
    if not isinstance(conditions, (list, tuple)):
        raise FilterError(f"'conditions' must be a list, got {type(conditions).__name__}")
    contrary = negated != (logic == "NOT")
    return (logic == "AND") != negated, [(part, contrary) for part in conditions]


def _required(condition: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 -- the callers check it
    if key not in condition:
        raise FilterError(f"{key!r} is missing in the filter {dict(condition)!r:.200}")
    return condition[key]


def _json_value(value: object) -> Any:  # noqa: ANN401 -- any JSON value
    """Give the value with dates written in ISO form.

    :raises FilterError: If it is not a JSON value otherwise.
    """
    value = [_iso(part) for part in value] if isinstance(value, list) else _iso(value)
    try:
        canonical_json(value).encode()
    except (TypeError, ValueError):
        raise FilterError(f"a filter compares with JSON values and dates, got {value!r:.200}") from None
    return value


def _iso(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value  # a datetime is one, too


def _texts_equal_to(wanted: object) -> set[str]:
    """Give every canonical JSON text of what Python holds equal to `wanted`; none for lists and dictionaries."""
    if isinstance(wanted, (int, float)):
        return _number_texts(wanted)
    return set() if isinstance(wanted, (list, dict)) else {canonical_json(wanted)}


def _number_texts(wanted: float) -> set[str]:
    texts: set[str] = set()
    if wanted == _as_float(wanted):
        texts |= {canonical_json(_as_float(wanted))} | ({"-0.0", "0.0"} if wanted == 0 else set())
    if isinstance(wanted, int) or wanted.is_integer():
        texts.add(canonical_json(int(wanted)))
    if wanted in (0, 1):
        texts.add("true" if wanted else "false")
    return texts


def _as_float(wanted: float) -> float:
    """Give the nearest float; infinite for whole numbers beyond all floats."""
    try:
        return float(wanted)
    except OverflowError:
        return math.inf if wanted > 0 else -math.inf
