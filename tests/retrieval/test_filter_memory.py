"""A filter that is asked again is looked up once, whatever others are asked between."""

import pytest

from fr_reranker_plugin import FilterError
from fr_reranker_plugin.retrieval.filter_memory import FilterMemory


def same_year(year):
    return {"field": "meta.year", "operator": "==", "value": year}


@pytest.fixture
def asked():
    return []


@pytest.fixture
def ask(asked):
    memory = FilterMemory()

    def look_up(filters):
        asked.append(filters["value"])
        return [filters["value"]]

    return lambda year: memory.recall(same_year(year), look_up)


def test_the_last_sixteen_are_looked_up_once(ask, asked):
    for _ in range(3):
        assert [ask(year) for year in range(16)] == [[year] for year in range(16)]
    assert asked == list(range(16))


def test_the_one_that_was_asked_longest_ago_is_forgotten_first(ask, asked):
    for year in [*range(16), 0, 16]:
        ask(year)
    asked.clear()
    for year in [0, *range(2, 17)]:
        ask(year)
    assert asked == []
    ask(1)
    assert asked == [1]


def test_a_filter_that_fails_is_tried_again():
    memory = FilterMemory()
    for _ in range(2):
        with pytest.raises(FilterError, match="no order"):
            memory.recall(same_year([]), lambda _: (_ for _ in ()).throw(FilterError("no order")))
    assert memory.recall(same_year([]), lambda _: [1]) == [1]
