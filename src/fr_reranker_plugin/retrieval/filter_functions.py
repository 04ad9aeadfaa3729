"""What SQL alone cannot compare: dates, lists, dictionaries and numbers too near to each other to trust a conversion.

These functions are called by compiled filters, for the values that need them only.
"""

from __future__ import annotations

import json
import operator
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from importlib import import_module
from typing import Any, Final

from fr_reranker_plugin.errors import FilterError

ORDERINGS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}

_ISO_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?:[Tt ].*)?", re.ASCII | re.DOTALL)


class FilterFunctions:
    """The functions of one database connection, and the error that stopped its last statement.

    SQLite reports a failing function without its reason; the reason is kept here.

    :param connection: Used by one thread at a time.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._failure: FilterError | None = None
        connection.create_function("filter_value", 2, value_at)
        connection.create_function("filter_among", 2, among_json)
        connection.create_function("filter_ordered", 3, self._keeping_the_reason(ordered_json))

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise the reason in place of SQLite's report.

        :raises FilterError: If a filter compared what has no order.
        """
        self._failure = None
        try:
            yield
        except sqlite3.OperationalError as error:
            if self._failure is None:
                raise
            raise self._failure from error

    def _keeping_the_reason(self, function: Callable[..., bool]) -> Callable[..., bool]:
        def called(*arguments: str) -> bool:
            try:
                return function(*arguments)
            except FilterError as error:
                self._failure = error
                raise

        return called


def value_at(metadata: str, keys: str) -> str | None:
    """Give the JSON value under nested keys, for keys that a path of SQLite cannot name; `None` if there is none."""
    value = json.loads(metadata)
    for key in json.loads(keys):
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def among_json(value: str, choices: str) -> bool:
    """Tell whether a JSON value equals one of a list, as Python compares them; ISO dates by the moment they name."""
    one = json.loads(value)
    return any(one == choice or _same_moment(one, choice) for choice in _loaded(choices))


def ordered_json(value: str, comparison: str, wanted: str) -> bool:
    """Compare two JSON values by size, or two dates by time; neither is null.

    :raises FilterError: If the two have no order.
    """
    one, other = json.loads(value), _loaded(wanted)
    if isinstance(one, str) or isinstance(other, str):
        one, other = _both_zones(_moment(one), _moment(other))
    try:
        return ORDERINGS[comparison](one, other)
    except TypeError:
        raise FilterError(
            f"{comparison!r} compares numbers or dates, found {value:.80} {comparison} {wanted:.80}; use '==' or 'in'"
        ) from None


def looks_like_date(text: object) -> bool:
    """Tell whether a value is a string that begins like a full ISO date."""
    return isinstance(text, str) and _ISO_DATE.fullmatch(text) is not None


@lru_cache(maxsize=64)
def _loaded(wanted: str) -> Any:  # noqa: ANN401 -- any JSON value; only read
    return json.loads(wanted)


def _same_moment(one: object, other: object) -> bool:
    if not (looks_like_date(one) and looks_like_date(other)):
        return False
    first, second = _iso_moment(str(one)), _iso_moment(str(other))
    if first is None or second is None:
        return False
    first, second = _both_zones(first, second)
    return first == second


@lru_cache(maxsize=1024)
def _iso_moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return _parse_with_dateutil("isoparse", text)


def _moment(value: object) -> datetime:
    """Read a date in ISO form, or in any other form that dateutil reads.

    :raises FilterError: If the value is no date.
    """
    moment = _free_moment(value) if isinstance(value, str) else None
    if moment is None:
        raise FilterError(
            f"strings are compared by size only where both are dates in ISO form, found {value!r:.80}; use '==' or 'in'"
        )
    return moment


@lru_cache(maxsize=1024)
def _free_moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return _parse_with_dateutil("parse", text)


def _parse_with_dateutil(function: str, text: str) -> datetime | None:
    """Read a date with dateutil, which the faiss extra brings and Haystack too; without it, no other form is read."""
    try:
        parser = import_module("dateutil.parser")
    except ModuleNotFoundError:
        return None
    try:
        moment: datetime = getattr(parser, function)(text)
    except (ValueError, OverflowError):
        return None
    return moment


def _both_zones(one: datetime, other: datetime) -> tuple[datetime, datetime]:
    """Give the one without a time zone that of the other."""
    if one.tzinfo is None:
        return one.replace(tzinfo=other.tzinfo), other
    return one, other if other.tzinfo is not None else other.replace(tzinfo=one.tzinfo)
