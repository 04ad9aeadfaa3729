"""Pickled scores are read as Python would read them, and nothing in the pickle is run."""

import gzip
import io
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fr_reranker_plugin.errors import CollectionError
from fr_reranker_plugin.evaluation.progress import show_nothing
from fr_reranker_plugin.training.pickled_scores import ScoresPickle
from fr_reranker_plugin.training.teacher_scores import TeacherScores

IDS = st.integers(0, 2**31 - 1) | st.integers(0, 300) | st.integers(65_000, 66_000)
PLAIN = st.floats(-20, 20, width=32)


def read(content: bytes) -> dict[int, dict[int, float]]:
    found = {}
    for query, scores in ScoresPickle(io.BytesIO(content), "x.pkl"):
        assert (np.diff(scores["passage"]) > 0).all()
        found[query] = dict(zip(scores["passage"].tolist(), scores["score"].tolist(), strict=True))
    return found


@settings(max_examples=60, deadline=None)
@given(
    scores=st.dictionaries(IDS, st.dictionaries(IDS, PLAIN | st.integers(-9, 9), max_size=6), max_size=5),
    protocol=st.integers(2, 5),
)
def test_what_was_pickled_is_read(scores, protocol) -> None:
    assert read(pickle.dumps(scores, protocol)) == scores
    assert read(pickle._dumps(scores, protocol)) == scores  # Python's own pickler divides frames otherwise


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_batches_and_frames_and_blocks_of_the_file_do_not_matter(protocol: int) -> None:
    numbers = np.random.default_rng(0)
    passages = [*numbers.integers(0, 9_000_000, (2_500, 60)).tolist(), list(range(2_500))]
    scores = {
        query: {passage: float(np.float32(numbers.normal())) for passage in some}
        for query, some in enumerate(passages)
    }  # fmt: skip
    assert read(pickle.dumps(scores, protocol)) == scores


class Dangerous:
    def __reduce__(self):
        return print, ("this must not be run",)


@pytest.mark.parametrize(
    ("thing", "found"),
    [
        (Dangerous(), "the instruction"),
        ({1: Dangerous()}, "the instruction"),
        ({1: {2: np.float32(3)}}, "the instruction"),
        ({"1": {2: 3.0}}, "the instruction"),
        ({1: {2: "x"}}, "the instruction"),
        ({1: 2.0}, "int and float in the outer dictionary"),
        ({100_000: 2.0}, "scores without a query"),
        ({1: {2: {3: 4.0}}}, "int and list in an inner dictionary"),
        ({1: {2.0: 3.0}}, "float and float in an inner dictionary"),
        ({1: {2**40: 3.0}}, "int and float in an inner dictionary"),
        (1, "something else"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_anything_else_is_refused_and_not_run(thing, found, protocol, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CollectionError, match=found) as error:
        read(pickle.dumps(thing, protocol))
    assert "x.pkl: expected a pickled {query: {passage: score}}" in str(error.value)
    assert capsys.readouterr().out == ""


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=60) | st.lists(st.sampled_from([b"}", b"(", b"u", b"s", b"K\x01", b"J\0\0\1\0",
    b"G" + b"\0" * 8, b"."]), max_size=12).map(b"".join))  # fmt: skip
def test_damaged_files_give_our_error_and_no_other(content) -> None:
    with suppress(CollectionError):
        read(content)


def test_the_scores_of_a_query_are_found_in_any_order(tmp_path: Path) -> None:
    scores = {30: {5: 1.5, 2: -2.0}, 10: {}, 20: {7: 0.25}}
    path = tmp_path / "scores.pkl.gz"
    with gzip.open(path, "wb") as file:
        pickle.dump(scores, file)
    with TeacherScores(path, tmp_path, show_nothing) as found:
        assert len(found) == 3
        assert [found.of(query) for query in (20, 30, 10, 25, 5, 99)] == [
            *(scores[q] for q in (20, 30, 10)),
            {},
            {},
            {},
        ]
    assert list(tmp_path.iterdir()) == [path]


def test_a_broken_or_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scores.pkl.gz"
    with pytest.raises(CollectionError, match="there is no file"):
        TeacherScores(path, tmp_path, show_nothing)
    path.write_bytes(gzip.compress(pickle.dumps({1: {n: 0.1 * n for n in range(999)}}))[:-20])
    with pytest.raises(CollectionError, match="expected a whole gzip file"):
        TeacherScores(path, tmp_path, show_nothing)
    path.write_bytes(b"no gzip")
    with pytest.raises(CollectionError, match="expected a whole gzip file"):
        TeacherScores(path, tmp_path, show_nothing)
    assert list(tmp_path.iterdir()) == [path]
