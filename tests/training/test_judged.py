"""A judged collection becomes examples: what is relevant, and what was judged not to be."""

from pathlib import Path

import pytest

from fr_reranker_plugin.collections import load_collection, open_collection, sample_folder
from fr_reranker_plugin.errors import CollectionError, SettingsError
from fr_reranker_plugin.training.example_counts import ExampleCounts
from fr_reranker_plugin.training.examples import TrainingExample
from fr_reranker_plugin.training.judged import judged_examples
from small_collections import PASSAGES, POSITIVES, QUERIES, as_json, write_beir, write_lines


def collection_of(folder: Path, judged: list[str], texts: dict[str, str]):
    write_lines(folder / "corpus.jsonl", [as_json(one, text) for one, text in texts.items()])
    write_lines(folder / "queries.jsonl", [as_json(one, f"question {one}") for one in ("1", "2", "3")])
    write_lines(folder / "qrels" / "train.tsv", ["query-id\tcorpus-id\tscore", *judged])
    return open_collection(str(folder), "train")


def test_every_relevant_passage_of_every_question_is_there_once(tmp_path: Path) -> None:
    counts = ExampleCounts()
    made = list(judged_examples(open_collection(str(write_beir(tmp_path)), "test"), counts))
    assert [example.query for example in made] == list(QUERIES.values())
    assert [set(example.positives) for example in made] == [{PASSAGES[one] for one in POSITIVES[q]} for q in QUERIES]
    assert (counts.examples, counts.positives, counts.negatives) == (len(QUERIES), sum(map(len, POSITIVES.values())), 0)


def test_the_sample_gives_titles_with_texts_and_the_grades_as_they_were_judged() -> None:
    sample = load_collection(sample_folder())
    made = {example.query: example for example in judged_examples(open_collection("sample"), ExampleCounts())}
    for query, grades in sample.qrels.items():
        example = made[sample.queries[query]]
        assert set(example.positives) == {sample.corpus[one].full_text for one, grade in grades.items() if grade >= 1}
        assert set(example.negatives) == {sample.corpus[one].full_text for one, grade in grades.items() if grade == 0}


def test_grades_in_between_blank_passages_and_questions_without_an_answer_are_left_out(tmp_path: Path) -> None:
    judged = ["1\ta\t2", "1\tb\t1", "1\tc\t0", "1\td\t2", "2\tb\t1", "2\tc\t0", "3\ta\t2"]
    collection = collection_of(tmp_path, judged, {"a": "A", "b": "B", "c": "C", "d": " "})
    counts = ExampleCounts()
    assert list(judged_examples(collection, counts, relevant_from=2)) == [
        TrainingExample("question 1", ("A", "C"), (1.0, 0.0)),
        TrainingExample("question 3", ("A",), (1.0,)),
    ]
    assert counts.left_out.total() == 1


def test_equal_texts_have_the_label_of_the_higher_grade(tmp_path: Path) -> None:
    collection = collection_of(tmp_path, ["1\ta\t1", "1\tb\t0"], {"a": "pareil", "b": "pareil"})
    assert list(judged_examples(collection, ExampleCounts())) == [TrainingExample("question 1", ("pareil",), (1.0,))]


def test_a_judged_passage_that_is_not_there_is_named(tmp_path: Path) -> None:
    collection = collection_of(tmp_path, ["1\tzz\t1"], {"a": "A"})
    with pytest.raises(CollectionError, match="expected all judged passages, found no text of 'zz'"):
        list(judged_examples(collection, ExampleCounts()))
    with pytest.raises(SettingsError, match="relevant_from"):
        list(judged_examples(collection, ExampleCounts(), relevant_from=0))
