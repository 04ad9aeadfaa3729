"""Dev questions: which candidates a model has to rank, and what makes two dev sets the same."""

from dataclasses import replace

import pytest

import small_collections as small
from fr_reranker_plugin.collections import open_collection
from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.evaluation.first_stages import FirstStages
from fr_reranker_plugin.evaluation.progress import show_nothing
from fr_reranker_plugin.training.dev_sets import DevSource, measure_dev
from training.lessons import write_lesson


@pytest.fixture
def collection(tmp_path):
    return open_collection(str(small.write_beir(tmp_path / "beir")))


@pytest.fixture
def source(collection, tmp_path):
    """Builds a source whose candidates are in a file with these lines."""

    def built(*lines, depth=20):
        run = small.write_lines(tmp_path / "run", list(lines))
        return DevSource(collection=collection, first_stage=FirstStages(names=(str(run),)), depth=depth)

    return built


def found(source, tmp_path):
    """The candidates of each question that has any."""
    questions = source.read(tmp_path / "index", 1, show_nothing)
    return {one.query: list(one.passages) for one in questions if one.passages}


def test_the_scores_of_a_run_say_which_candidates_are_the_best(source, tmp_path):
    """Passage 0 answers question 300; the lines stand in the contrary order, and those of questions are mixed."""
    lines = ["300 Q0 40 3 1.0 x", "301 Q0 50 2 -1.0 x", "300 Q0 41 2 2.0 x", "301 Q0 1 1 0.5 x", "300 Q0 0 1 3.0 x"]
    assert found(source(*lines, depth=2), tmp_path) == {
        small.QUERIES["300"]: ["0", "41"],
        small.QUERIES["301"]: ["1", "50"],
    }


def test_candidates_without_scores_keep_the_relevant_ones_and_favour_none(source, tmp_path):
    lists = small.write_pool_lists(tmp_path / "lists").read_text().splitlines()
    whole = found(source(*lists), tmp_path)
    assert {query: set(names) for query, names in whole.items()} == {
        text: set(small.candidates(query)) for query, text in small.QUERIES.items()
    }
    few = source(*lists, depth=4).read(tmp_path / "index", 1, show_nothing)
    assert all(len(one.passages) == 4 for one in few)
    assert all(set(one.grades) <= set(one.passages) for one in few)
    said = measure_dev(source(*lists).read(tmp_path / "index", 1, show_nothing), lambda pairs: [0.0] * len(pairs))
    assert said["RR@10"] < 0.6  # 1.0 would be the order of the file


def test_another_content_of_the_same_file_is_another_dev_set(source):
    before = source("300 Q0 0 1 3.0 x").identity()
    assert source("300 Q0 0 1 3.0 x").identity() == before
    assert source("300 Q0 0 1 3.0 x", depth=2).identity() != before
    assert source("300 Q0 0 1 1.0 x").identity() != before


def test_examples_are_drawn_by_the_seed(tmp_path):
    source = DevSource(examples=(write_lesson(tmp_path / "dev.jsonl", 40),), questions=8)
    first, same, other = (source.read(tmp_path, seed, show_nothing) for seed in (1, 1, 2))
    assert len(first) == 8
    assert first == same != other
    assert len(replace(source, questions=100).read(tmp_path, 1, show_nothing)) == 40
    assert replace(source, questions=9).identity() != source.identity()


def test_candidates_come_from_one_first_stage(collection):
    with pytest.raises(SettingsError, match="from one first stage, got bm25, dense"):
        DevSource(collection=collection, first_stage=FirstStages(names=("bm25", "dense")))
