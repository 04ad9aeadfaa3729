"""The builder gives exactly the examples that the reference model's recipe describes."""

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fr_reranker_plugin.errors import CollectionError, SettingsError
from fr_reranker_plugin.evaluation.progress import show_nothing
from fr_reranker_plugin.training.examples import TrainingExample
from fr_reranker_plugin.training.mmarco import RECIPE_PAIRS, MmarcoCounts, MmarcoRecipe, mmarco_examples, systems_of
from fr_reranker_plugin.training.mmarco_files import MmarcoFiles, OpenedMmarco, find_mmarco, opened_mmarco
from small_mmarco import FOUND, PASSAGES, POSITIVES, QUERIES, lines, scores, teacher, write_mmarco

QUERY_OF = {text: query for query, text in QUERIES.items()}
PASSAGE_OF = {text: passage for passage, text in PASSAGES.items()}
Pair = tuple[int, int, float]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mmarco(tmp_path_factory.mktemp("mmarco"))


@contextmanager
def opened(folder: Path, **changes: Path | None) -> Iterator[OpenedMmarco]:
    files = find_mmarco({}, folder)
    kept = {name: getattr(files, name) for name in ("collection", "queries", "hard_negatives", "scores", "qrels")}
    with opened_mmarco(MmarcoFiles(**{**kept, **changes}), folder, show_nothing) as there:
        yield there


def drawn(folder: Path, **recipe: object) -> tuple[list[TrainingExample], MmarcoCounts]:
    counts = MmarcoCounts()
    with opened(folder) as there:
        return list(mmarco_examples(there, MmarcoRecipe(**recipe), counts)), counts


def pairs_of(examples: list[TrainingExample]) -> list[Pair]:
    return [
        (QUERY_OF[example.query], PASSAGE_OF[passage], label)
        for example in examples
        for passage, label in zip(example.passages, example.labels, strict=True)
    ]


def allowed(query: int, systems: tuple[str, ...] = (), margin: float = 3.0) -> set[int]:
    """The negatives that the recipe allows, written down once more."""
    union = {one for system, ids in FOUND[query].items() if not systems or system in systems for one in ids}
    lowest = min(teacher(query, one) for one in POSITIVES[query])
    return {one for one in union if one not in POSITIVES[query] and teacher(query, one) <= lowest - margin}


def test_the_defaults_are_those_of_the_reference_model() -> None:
    recipe = MmarcoRecipe()
    assert recipe.pairs == RECIPE_PAIRS == 2_560_000
    assert (recipe.negatives_per_positive, recipe.margin, recipe.seed, recipe.systems) == (1, 3.0, 42, ())


def test_one_pass_takes_a_pair_of_each_query_a_positive_and_a_negative_in_turns(folder: Path) -> None:
    examples, counts = drawn(folder, pairs=len(QUERIES))
    pairs = pairs_of(examples)
    assert [query for query, _, _ in pairs] == list(QUERIES)
    assert [label for _, _, label in pairs] == [1.0, 0.0] * (len(QUERIES) // 2)
    for query, passage, label in pairs:
        assert passage in (POSITIVES[query] if label else allowed(query))
    assert (counts.examples, counts.pairs, counts.positives, counts.negatives) == (30, 30, 15, 15)
    assert (counts.passes, counts.left_out) == (1, Counter())


def test_examples_carry_what_the_teacher_says(folder: Path) -> None:
    for example in drawn(folder, pairs=10)[0]:
        query = QUERY_OF[example.query]
        assert example.scores == tuple(teacher(query, PASSAGE_OF[passage]) for passage in example.passages)


@settings(max_examples=25, deadline=None)
@given(
    recipe=st.builds(
        MmarcoRecipe,
        pairs=st.integers(1, 100),
        negatives_per_positive=st.integers(1, 4),
        seed=st.integers(0, 3),
        systems=st.sampled_from([(), ("bm25",), ("dense",), ("tas-b", "margin-mse")]),
        margin=st.sampled_from([0.0, 1.0, 3.0, 5.0]),
        grouped=st.booleans(),
    )
)
def test_counts_ratio_and_guard_hold_for_any_recipe(folder: Path, recipe: MmarcoRecipe) -> None:
    examples, counts = drawn(folder, **asdict(recipe))
    pairs, grouped = recipe.pairs, recipe.grouped
    found = pairs_of(examples)
    size = recipe.negatives_per_positive + 1
    assert counts.pairs == len(found) == (-(-pairs // size) * size if grouped else pairs)
    assert [label for _, _, label in found] == [float(place % size == 0) for place in range(len(found))]
    names = ("tas-b", "margin-mse") if recipe.systems == ("dense",) else recipe.systems
    for query, passage, label in found:
        assert passage in (POSITIVES[query] if label else allowed(query, names, recipe.margin))
    assert all(len(example.passages) == (size if grouped else 1) for example in examples)


def test_no_pair_comes_twice_in_a_pass_though_the_file_repeats_a_query(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "repeated.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in lines() for _ in range(3)), encoding="utf-8")
    counts = MmarcoCounts()
    with opened(folder, hard_negatives=path) as there:
        examples = []
        for example in mmarco_examples(there, MmarcoRecipe(pairs=300), counts):
            examples.append((counts.passes, example))
    for number in range(1, counts.passes):
        pairs = pairs_of([example for passed, example in examples if passed == number])
        assert len(pairs) == len({pair[:2] for pair in pairs}) > 40
    assert counts.left_out["drawn before in the same pass"] > 0


def test_equal_seeds_draw_the_same_and_others_and_later_passes_draw_anew(folder: Path) -> None:
    first, again, other = (drawn(folder, pairs=60, seed=seed)[0] for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert [pair[1] for pair in pairs_of(first[:30])] != [pair[1] for pair in pairs_of(first[30:])]


def test_the_order_of_ids_in_the_file_does_not_matter(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "reordered.jsonl"
    rows = [{**row, "neg": {name: ids[::-1] for name, ids in reversed(row["neg"].items())}} for row in lines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with opened(folder, hard_negatives=path) as there:
        reordered = list(mmarco_examples(there, MmarcoRecipe(pairs=30), MmarcoCounts()))
    assert reordered == drawn(folder, pairs=30)[0]


def test_a_query_that_gave_a_positive_gives_a_negative_in_the_next_pass(folder: Path) -> None:
    """The recipe makes an even number of pairs of this file, so that turns alone would always fall alike."""
    first, second = (pairs_of(drawn(folder, pairs=60)[0][part]) for part in (slice(30), slice(30, 59)))
    assert [query for query, _, _ in second] == list(QUERIES)[1:]
    before = {query: label for query, _, label in first}
    assert all(label != before[query] for query, _, label in second)


def test_negatives_are_drawn_uniformly(folder: Path, tmp_path: Path) -> None:
    line = tmp_path / "one.jsonl"
    line.write_text(json.dumps(lines()[0]) + "\n", encoding="utf-8")
    with opened(folder, hard_negatives=line) as there:
        examples = list(mmarco_examples(there, MmarcoRecipe(pairs=2_000), MmarcoCounts()))
    taken = Counter(passage for _, passage, label in pairs_of(examples) if not label)
    assert set(taken) == allowed(next(iter(QUERIES)))
    expected = taken.total() / len(taken)
    assert sum((count - expected) ** 2 / expected for count in taken.values()) < 3 * len(taken)


def test_a_judged_passage_and_the_text_of_a_positive_are_no_negatives(folder: Path, tmp_path: Path) -> None:
    query = next(iter(QUERIES))
    negatives = sorted(allowed(query))
    qrels, collection = tmp_path / "qrels.tsv", tmp_path / "collection.tsv"
    qrels.write_text("".join(f"{query}\t0\t{one}\t1\n" for one in negatives[1:3]), encoding="utf-8")
    copied = PASSAGES[POSITIVES[query][0]]
    texts = {**PASSAGES, negatives[0]: f"« {copied.upper()} »", negatives[3]: copied}
    collection.write_text("".join(f"{one}\t{text}\n" for one, text in texts.items()), encoding="utf-8")
    line = tmp_path / "one.jsonl"
    line.write_text(json.dumps(lines()[0]) + "\n", encoding="utf-8")
    ratio = len(negatives) - 4
    recipe = MmarcoRecipe(pairs=1, negatives_per_positive=ratio, grouped=True)
    with opened(folder, hard_negatives=line, collection=collection, qrels=qrels) as there:
        [example] = mmarco_examples(there, recipe, MmarcoCounts())
    assert {PASSAGE_OF[text] for text in example.negatives} == set(negatives[4:])


def test_without_a_teacher_no_margin_is_kept_and_positives_are_still_no_negatives(folder: Path) -> None:
    counts = MmarcoCounts()
    with opened(folder, scores=None) as there:
        examples = list(mmarco_examples(there, MmarcoRecipe(pairs=3_000), counts))
    assert all(example.scores is None for example in examples)
    for query, passage, label in pairs_of(examples):
        assert (passage in POSITIVES[query]) == bool(label)
    too_near = [pair for pair in pairs_of(examples) if not pair[2] and pair[1] not in allowed(pair[0])]
    assert too_near


def test_queries_whose_positives_the_teacher_did_not_read_are_left_out_and_counted(tmp_path: Path) -> None:
    known = scores()
    unread = list(QUERIES)[::3]
    for query in unread:
        known[query].pop(POSITIVES[query][0])
    examples, counts = drawn(write_mmarco(tmp_path, teacher_scores=known), pairs=20)
    assert not {QUERY_OF[example.query] for example in examples} & set(unread)
    assert counts.left_out == {"positives that the teacher has not read": 10}


def test_a_pass_that_gives_nothing_ends_it_with_the_reason(folder: Path) -> None:
    with pytest.raises(CollectionError, match=r"found none in a whole pass \(no negative that is far enough .*: 30\)"):
        drawn(folder, pairs=5, margin=100.0, grouped=True)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"qid": "1", "pos": [1], "neg": {}}, "a whole number as 'qid', found str"),
        ({"qid": 1000, "pos": 1, "neg": {}}, "a list of passage ids in 'pos', found int"),
        ({"qid": 1000, "pos": ["1"], "neg": {}}, "whole numbers in 'pos', found '1'"),
        ({"qid": 1000, "pos": [0], "neg": [1]}, "an object of systems in 'neg', found list"),
        ({"qid": 1000, "pos": [0], "neg": {"bm25": 1}}, "a list of passage ids in 'neg.bm25', found int"),
        ({"qid": 1000, "pos": [0], "neg": {"bm25": [1, None]}}, "whole numbers in 'neg.bm25', found None"),
        ({"qid": 5, "pos": [0], "neg": {"bm25": [1]}}, r"a query of .*queries.*, found the id 5, which is not there"),
        ({"qid": 1000, "pos": [999], "neg": {"bm25": [1]}}, r"a passage of .*, found the id 999, which is not there"),
    ],
)
def test_a_bad_line_is_named(bad: object, reason: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(f"\n{json.dumps(bad)}\n", encoding="utf-8")
    with opened(folder, hard_negatives=path, scores=None) as there, pytest.raises(CollectionError) as error:
        list(mmarco_examples(there, MmarcoRecipe(pairs=2, grouped=True), MmarcoCounts()))
    assert error.match(rf"bad.jsonl, line 2: expected {reason}")


def test_an_unknown_system_is_named_with_those_that_are_there(folder: Path) -> None:
    with pytest.raises(SettingsError, match="expected the system 'colbert', found bm25, tas-b, margin-mse"):
        drawn(folder, pairs=2, systems=("bm25", "colbert"))


@pytest.mark.parametrize(
    "wrong", [{"pairs": 0}, {"negatives_per_positive": 0}, {"margin": -1.0}, {"margin": float("nan")}]
)
def test_a_recipe_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        MmarcoRecipe(**wrong)


def test_names_of_systems_may_be_joined_with_commas() -> None:
    assert systems_of(["a, b", "c,"]) == ("a", "b", "c")


@pytest.mark.parametrize("by_path", [True, False])
def test_a_folder_holds_the_files_under_their_published_paths_or_names(by_path: bool, tmp_path: Path) -> None:
    files = find_mmarco({}, write_mmarco(tmp_path, by_path=by_path))
    assert files.collection.name == "french_collection.tsv"
    assert files.queries.name == "french_queries.train.tsv"
    assert files.hard_negatives.name == "msmarco-hard-negatives.jsonl.gz"
    assert files.scores is not None
    assert files.qrels is None


def test_a_plain_file_goes_before_a_packed_one_and_a_given_one_before_both(tmp_path: Path) -> None:
    write_mmarco(tmp_path)
    plain = tmp_path / "msmarco-hard-negatives.jsonl"
    with gzip.open(tmp_path / "msmarco-hard-negatives.jsonl.gz") as packed:
        plain.write_bytes(packed.read())
    assert find_mmarco({}, tmp_path).hard_negatives == plain
    assert find_mmarco({"hard_negatives": Path("mine")}, tmp_path).hard_negatives == Path("mine")


def test_a_folder_without_one_of_the_files_is_named(tmp_path: Path) -> None:
    write_mmarco(tmp_path)
    (tmp_path / "french_queries.train.tsv").unlink()
    with pytest.raises(CollectionError, match=r"expected data/google/queries/train/french_queries.train.tsv there"):
        find_mmarco({}, tmp_path)


HUB = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from small_mmarco import write_mmarco
from fr_reranker_plugin.errors import CollectionError
from fr_reranker_plugin.training.mmarco_files import find_mmarco
for local in (True, False):
    try:
        files = find_mmarco({{}}, local_files_only=local)
    except CollectionError as error:
        print(error)
    else:
        print(files.collection.read_text(encoding="utf-8").splitlines()[3], files.scores.name)
"""


def prime(cache: Path, dataset: str, source: Path) -> None:
    """Lay a dataset into a Hub cache as a download would."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    home = cache / f"datasets--{dataset.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit, encoding="utf-8")
    (home / "snapshots").mkdir()
    (home / "snapshots" / commit).symlink_to(source, target_is_directory=True)


@pytest.mark.parametrize("primed", [True, False])
def test_the_hub_is_asked_for_what_its_cache_lacks_only(primed: bool, tmp_path: Path) -> None:
    """The Hub is out of reach here."""
    source = write_mmarco(tmp_path / "files", by_path=True)
    cache = tmp_path / "cache"
    if primed:
        for dataset in ("unicamp-dl/mmarco", "sentence-transformers/msmarco-hard-negatives"):
            prime(cache, dataset, source)
    done = subprocess.run(
        [sys.executable, "-c", HUB.format(paths=sys.path)],
        env={**os.environ, "HF_HUB_CACHE": str(cache), "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    said = done.stdout.splitlines()
    if primed:
        assert said == [f"3\t{PASSAGES[3]} cross-encoder-ms-marco-MiniLM-L-6-v2-scores.pkl.gz"] * 2
    else:
        assert len(said) == 2
        for line in said:
            assert "of the dataset 'unicamp-dl/mmarco' is not in the local cache and could not be fetched" in line
