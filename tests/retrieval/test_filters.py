"""A compiled filter finds the documents that Haystack's own function finds, and fails where it fails."""

import json
from datetime import UTC, date, datetime

import pytest
from haystack import Document
from haystack.utils.filters import document_matches_filter
from hypothesis import example, given
from hypothesis import strategies as st

from fr_reranker_plugin import FilterError, SettingsError, StoredDocument
from fr_reranker_plugin.retrieval.document_database import DocumentDatabase
from fr_reranker_plugin.retrieval.documents import check_documents
from fr_reranker_plugin.retrieval.filters import DEEPEST

KEYS = ["a", "b", "é", "with space", 'quo"te', "it's", "$", ""]
DATES = [
    "2020-01-01",
    "2020-01-01T00:00:00",
    "2020-01-01T00:00:00Z",
    "2020-01-01T01:00:00+01:00",
    "2020-01-01 12:30",
    "2020-01-01T24:00:00",
    "2019-12-31t23:59:59",
    "2020-13-01",
    "2020-01-01Tnoon",
    "2020",
    "2 Jan 2020",
]
# the second decimal of each pair is the next float after the first
NUMBERS = [0, -0.0, 1, -1, 2, 2.5, 0.1, 0.30000000000000004, 0.3, 1e16, 10**16 + 1, 2**53, 2**53 + 1, 2.0**53, 1e-300,
           2**63 - 1, 2**63, 2**63 + 1, -(2**63), float(2**63), 10**30, 1e30, 1e308, 10**400, 1.7976931348623157e308,
           9007199254740993.0, 0.1 + 0.7, 0.7999999999999999]  # fmt: skip
STRINGS = [
    "",
    "x",
    "X",
    "élève",
    "a\x00b",
    "a",
    "\x00",
    'say "a"\\',
    "ligne\nligne",
    "👨‍👩‍👧",
    "true",
    "null",
    "1",
    "%_*[",
    *DATES,
]
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.sampled_from(STRINGS),
    st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=2),
    max_leaves=4,
)
metadata = st.dictionaries(st.sampled_from(KEYS), values, max_size=4)
paths = st.lists(st.sampled_from(KEYS), min_size=1, max_size=3).map(lambda keys: "meta." + ".".join(keys))
fields = st.one_of(paths, paths, st.sampled_from(["a", "é", "id", "content", "meta"]))
comparisons = st.one_of(
    st.builds(lambda f, o, v: {"field": f, "operator": o, "value": v}, fields, st.sampled_from(["==", "!="]), values),
    st.builds(
        lambda f, o, v: {"field": f, "operator": o, "value": v},
        fields,
        st.sampled_from([">", ">=", "<", "<="]),
        scalars,
    ),
    st.builds(
        lambda f, o, v: {"field": f, "operator": o, "value": v},
        fields,
        st.sampled_from(["in", "not in"]),
        st.lists(values, max_size=3),
    ),
)
filters = st.recursive(
    comparisons,
    lambda inner: st.builds(
        lambda o, c: {"operator": o, "conditions": c},
        st.sampled_from(["AND", "OR", "NOT"]),
        st.lists(inner, max_size=3),
    ),
    max_leaves=8,
)


def found(documents: list[StoredDocument], condition: dict) -> list[str]:
    database = DocumentDatabase.create(None)
    try:
        database.write(check_documents(documents), [None] * len(documents))
        return database.ids(condition)
    finally:
        database.close()


def found_by_haystack(documents: list[StoredDocument], condition: dict) -> list[str]:
    theirs = [Document(id=d.id, content=d.text, meta=json.loads(json.dumps(d.metadata))) for d in documents]
    return [document.id for document in theirs if document_matches_filter(condition, document)]


def check_agreement(documents: list[StoredDocument], condition: dict) -> None:
    try:
        expected = found_by_haystack(documents, condition)
    except Exception:  # noqa: BLE001 -- Haystack raises its FilterError, and lets TypeError and OverflowError pass
        with pytest.raises(FilterError):
            found(documents, condition)
    else:
        assert found(documents, condition) == expected


@given(metas=st.lists(metadata, max_size=4), texts=st.sampled_from(STRINGS), condition=filters)
@example(
    metas=[{"a": "a\x00b"}, {"a": "a"}], texts="a\x00b", condition={"field": "content", "operator": "==", "value": "a"}
)
def test_it_finds_what_haystack_finds(metas: list[dict], texts: str, condition: dict) -> None:
    check_agreement([StoredDocument(f"{place}", texts, meta) for place, meta in enumerate(metas)], condition)


@given(
    value=st.one_of(scalars, st.sampled_from(NUMBERS), st.sampled_from(DATES)),
    wanted=st.one_of(scalars, st.sampled_from(NUMBERS), st.sampled_from(DATES)),
    operator=st.sampled_from(["==", "!=", ">", ">=", "<", "<="]),
)
def test_two_values_compare_as_they_do_in_haystack(value: object, wanted: object, operator: str) -> None:
    documents = [StoredDocument("0", "", {"a": value}), StoredDocument("1", "", {})]
    check_agreement(documents, {"field": "meta.a", "operator": operator, "value": wanted})


@pytest.mark.parametrize("field", ["id", "content", "meta.a"])
@pytest.mark.parametrize("operator", ["==", "!=", ">", ">=", "<", "<=", "in", "not in"])
@pytest.mark.parametrize("wanted", [*DATES, "a", "", None, 1])
def test_every_field_compares_with_every_kind_of_string(field: str, operator: str, wanted: object) -> None:
    documents = [StoredDocument(text or "-", text, {"a": text}) for text in [*DATES, "a", ""]]
    wanted = [wanted] if "in" in operator else wanted
    for document in documents:
        check_agreement([document], {"field": field, "operator": operator, "value": wanted})


def nested(leaf: dict, operators: list[str], *, alone: bool = False) -> dict:
    """Compose a filter step by step: a condition more for each operator, with the comparison beside it or alone."""
    condition = leaf
    for operator in operators:
        condition = {"operator": operator, "conditions": [condition] if alone else [leaf, condition]}
    return condition


SEVERAL = [
    StoredDocument("0", "x", {"n": 1, "d": "2020-01-01"}),
    StoredDocument("1", "2020-01-01", {"n": 2.5, "d": "2020-01-01T00:00:00"}),
    StoredDocument("2", "", {}),
]
LEAVES = [
    {"field": "meta.n", "operator": "==", "value": 1},
    {"field": "meta.n", "operator": "<", "value": 2},
    {"field": "meta.d", "operator": "not in", "value": ["2020-01-01", [1], {"a": 1}]},
    {"field": "content", "operator": "!=", "value": "2020-01-01T00:00:00"},
]


@pytest.mark.parametrize("leaf", LEAVES, ids=str)
@pytest.mark.parametrize("operator", ["AND", "OR"])
def test_conditions_that_are_joined_alike_may_be_nested_at_will(leaf: dict, operator: str) -> None:
    check_agreement(SEVERAL, nested(leaf, [operator] * 60))
    for count in (59, 60):
        check_agreement(SEVERAL, nested(leaf, ["NOT"] * count, alone=True))
        check_agreement(SEVERAL, nested(leaf, [operator, "NOT"] * 15 + ["NOT"] * (count - 30), alone=True))


@pytest.mark.parametrize("leaf", LEAVES, ids=str)
@pytest.mark.parametrize("operators", [["AND", "OR"], ["OR", "AND"], ["NOT", "NOT"]], ids=str)
def test_other_conditions_may_be_nested_up_to_a_limit_that_is_told(leaf: dict, operators: list[str]) -> None:
    for depth in range(1, DEEPEST + 1):
        check_agreement(SEVERAL, nested(leaf, (operators * depth)[:depth]))
    with pytest.raises(FilterError, match=f"nested more than {DEEPEST} deep"):
        found(SEVERAL, nested(leaf, operators * DEEPEST))


def test_a_date_object_means_its_iso_form() -> None:
    documents = [
        StoredDocument("old", "", {"d": "2019-05-05"}),
        StoredDocument("new", "", {"d": "2021-05-05T10:00:00Z"}),
    ]
    limit = datetime(2020, 1, 1, tzinfo=UTC)
    assert found(documents, {"field": "meta.d", "operator": ">", "value": limit}) == ["new"]
    assert found(documents, {"field": "meta.d", "operator": "in", "value": [datetime(2019, 5, 5)]}) == ["old"]


@pytest.mark.parametrize("operator", ["==", "!=", ">", ">=", "<", "<=", "in", "not in"])
def test_a_day_means_its_iso_text(operator: str) -> None:
    stored = ["2019-05-05", "2019-05-05T00:00:00", "2019-05-05T00:00:01", "2019-05-04T23:59:59Z"]
    documents = [StoredDocument(text, "", {"d": text}) for text in stored]
    day = date(2019, 5, 5)
    asked, written = ([day], [day.isoformat()]) if "in" in operator else (day, day.isoformat())
    condition = {"field": "meta.d", "operator": operator, "value": written}
    assert found(documents, {**condition, "value": asked}) == found_by_haystack(documents, condition)


def test_a_field_without_prefix_goes_into_nested_metadata() -> None:
    documents = [StoredDocument("0", "", {"author": {"name": "Zola"}}), StoredDocument("1", "", {"author": "Zola"})]
    assert found(documents, {"field": "author.name", "operator": "==", "value": "Zola"}) == ["0"]


def test_conditions_stop_at_the_first_that_decides() -> None:
    documents = [
        StoredDocument("0", "", {"kind": "text", "n": "douze"}),
        StoredDocument("1", "", {"kind": "n", "n": 12}),
    ]
    number, large = ({"field": "kind", "operator": "==", "value": "n"}, {"field": "n", "operator": ">", "value": 5})
    assert found(documents, {"operator": "AND", "conditions": [number, large]}) == ["1"]
    with pytest.raises(FilterError, match="douze"):
        found(documents, {"operator": "AND", "conditions": [large, number]})


def test_no_filter_matches_everything() -> None:
    documents = [StoredDocument("0", ""), StoredDocument("1", "")]
    assert found(documents, {}) == found(documents, None) == ["0", "1"]


def test_a_long_list_and_many_dates_are_no_problem() -> None:
    documents = [StoredDocument("0", "", {"n": 99_999, "d": "2020-02-02T00:00:00"}), StoredDocument("1", "", {"n": -1})]
    assert found(documents, {"field": "n", "operator": "in", "value": list(range(100_000))}) == ["0"]
    dates = [f"{year}-02-02" for year in range(1000, 4000)]
    assert found(documents, {"field": "d", "operator": "in", "value": dates}) == ["0"]


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ({"operator": "==", "value": 1}, "'conditions' is missing"),
        ({"conditions": []}, "'operator' is missing"),
        ({"operator": "XOR", "conditions": []}, "unknown logical operator 'XOR'"),
        ({"operator": "AND", "conditions": {"field": "a"}}, "'conditions' must be a list, got dict"),
        ({"operator": "AND", "conditions": ["a"]}, "a filter must be a dictionary, got str"),
        ({"field": "a", "value": 1}, "'operator' is missing"),
        ({"field": "a", "operator": "=="}, "'value' is missing"),
        ({"field": "a", "operator": "~", "value": 1}, "unknown comparison operator '~'"),
        ({"field": 3, "operator": "==", "value": 1}, "'field' must be the name of a field, got 3"),
        ({"field": "a", "operator": "in", "value": "abc"}, "the value of 'in' must be a list, got str"),
        ({"field": "a", "operator": "==", "value": {1, 2}}, "a filter compares with JSON values and dates"),
        ({"field": "a", "operator": "<", "value": float("nan")}, "a filter compares with JSON values and dates"),
        ({"field": "a", "operator": ">", "value": [1]}, "'>' compares numbers or dates, got list"),
    ],
)
def test_a_malformed_filter_is_refused_before_any_document_is_read(condition: dict, says: str) -> None:
    with pytest.raises(FilterError, match=says) as refused:
        found([], condition)
    assert isinstance(refused.value, SettingsError)


def test_a_field_cannot_smuggle_sql_in() -> None:
    documents = [StoredDocument("0", "", {"a": 1})]
    for field in ["a') OR 1=1 --", 'a" OR 1=1 --', "a\x00", "?1", "meta.a'"]:
        assert found(documents, {"field": field, "operator": "==", "value": 1}) == []
