"""Training examples are checked, and a file gives back what was written."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fr_reranker_plugin.errors import CollectionError, SettingsError
from fr_reranker_plugin.training.examples import TrainingExample, read_examples, write_examples

TEXTS = st.text(min_size=1, max_size=8).filter(str.strip)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
EXAMPLE = TrainingExample("Où porter plainte ?", ("Au commissariat.", "Dans les pins."), (1.0, 0.0))


@st.composite
def examples(draw: st.DrawFn) -> TrainingExample:
    passages = tuple(draw(st.lists(TEXTS, min_size=1, max_size=4)))
    labels = tuple(draw(st.floats(0, 1)) for _ in passages)
    scores = draw(st.none() | st.tuples(*(NUMBERS for _ in passages)))
    return TrainingExample(draw(TEXTS), passages, labels, scores)


def line(**changes: object) -> str:
    return json.dumps({"query": "q", "passages": ["a", "b"], "labels": [1, 0], **changes})


@settings(max_examples=40, deadline=None)
@given(written=st.lists(examples(), max_size=4), name=st.sampled_from(["x.jsonl", "x.jsonl.gz"]))
def test_a_file_gives_back_what_was_written(written, name, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("examples") / name
    assert write_examples(path, written) == len(written)
    assert list(read_examples(path)) == written
    assert [one.name for one in path.parent.iterdir()] == [name]


def test_several_files_are_read_one_after_the_other(tmp_path: Path) -> None:
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"]
    for number, path in enumerate(files):
        write_examples(path, [TrainingExample(f"q{number}", ("p",), (1.0,))])
    assert [example.query for example in read_examples(files)] == ["q0", "q1"]


def test_equal_examples_make_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_examples(tmp_path / f"{name}.jsonl.gz", [EXAMPLE])
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_the_lines_are_what_other_programs_expect(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    write_examples(path, [EXAMPLE, TrainingExample("q", ("p",), (0.5,), (-3.25,))])
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert rows[0] == {"query": EXAMPLE.query, "passages": list(EXAMPLE.passages), "labels": [1.0, 0.0]}
    assert rows[1] == {"query": "q", "passages": ["p"], "labels": [0.5], "scores": [-3.25]}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{", "expected a JSON object, found '{'"),
        ("[1]", "expected a JSON object, found list"),
        (line(query=" "), "expected a query with text, found ' '"),
        (line(query=1), "expected a query with text, found 1"),
        (json.dumps({"passages": ["a"], "labels": [1]}), "expected a query with text, found ''"),
        (line(passages="ab"), "expected a list in 'passages', found str"),
        (line(labels=None), "expected a list in 'labels', found NoneType"),
        (line(passages=[], labels=[]), "expected at least one passage, found none"),
        (line(passages=["a", ""]), "expected passages with text, found ''"),
        (line(passages=["a", 2]), "expected passages with text, found 2"),
        (line(query="coup\ud83d"), "expected a query in whole characters, found half of one at position 4"),
        (line(passages=["a", "\udc00"]), "expected passages in whole characters, found half of one at position 0"),
        (line(labels=[1]), "expected as many labels as passages (2), found 1"),
        (line(labels=[1, 2]), "expected labels from 0 to 1, found 2"),
        (line(labels=[1, True]), "expected finite numbers in 'labels', found True"),
        (line(scores=[1.0]), "expected as many scores as passages (2), found 1"),
        (line(scores=[1.0, float("nan")]), "expected finite numbers in 'scores', found nan"),
        (line(scores=[1.0, "2"]), "expected finite numbers in 'scores', found '2'"),
        (line(label=1), "expected the fields 'query', 'passages', 'labels', 'scores', found 'label'"),
    ],
)
def test_a_bad_line_is_named_with_what_was_expected_and_found(bad, reason, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f"{line()}\n\n{bad}\n", encoding="utf-8")
    examples = read_examples([path])
    assert next(examples) == TrainingExample("q", ("a", "b"), (1, 0))
    with pytest.raises(CollectionError) as error:
        next(examples)
    assert str(error.value).startswith(f"{path}, line 3: {reason}")


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match="there is no file"):
        list(read_examples(tmp_path / "absent.jsonl"))


def test_a_file_that_is_there_is_replaced_only_if_told_so(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(SettingsError, match="is there already"):
        write_examples(path, [EXAMPLE])
    assert path.read_text(encoding="utf-8") == "mine"
    write_examples(path, [EXAMPLE], force=True)
    assert list(read_examples(path)) == [EXAMPLE]


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    def broken():
        yield EXAMPLE
        raise RuntimeError("broken")

    path = tmp_path / "x.jsonl"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(RuntimeError, match="broken"):
        write_examples(path, broken(), force=True)
    assert path.read_text(encoding="utf-8") == "mine"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["", "absent/x.jsonl"])
def test_a_place_that_cannot_be_written_to_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="expected a file in a folder that is there"):
        write_examples(tmp_path / name, [EXAMPLE])


def test_added_negatives_stand_behind_the_passages_of_the_example() -> None:
    more = EXAMPLE.with_negatives(["Le parc ferme."])
    assert more.positives == ("Au commissariat.",)
    assert more.negatives == ("Dans les pins.", "Le parc ferme.")
    assert more.labels == (1.0, 0.0, 0.0)
