"""A data set is ranked row by row, goes on where it ended, and says what is wrong with which row."""

import gzip
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines import TIMEOUT, FailsOn, GatedEngine
from fr_reranker_plugin import BatchSettings, CollectionError, IndexLockedError, ScoringError, SettingsError
from fr_reranker_plugin.bulk import BulkSettings, DataSet, by_scorer, rank_data_set
from fr_reranker_plugin.bulk.data_set import BadRow, Row
from fr_reranker_plugin.bulk.parts import PartFolder, in_parts
from fr_reranker_plugin.scoring.batching import BatchingScorer

ROWS = [
    {"id": "a", "query": "q", "passages": ["un", "quatre", {"id": 7, "title": "Été", "text": "x"}, "quatre"]},
    {"query": "r", "passages": []},
    {"id": 3, "query": "s", "passages": ["", "deux…"]},
]


@pytest.fixture
def scorer() -> Iterator[BatchingScorer]:
    with BatchingScorer([FailsOn("poison")], BatchSettings()) as scorer:
        yield scorer


def write(path: Path, rows: list) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: list) -> Path:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def read(folder: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(folder.glob("part-*.jsonl")) for line in path.read_text().splitlines()]


def rank(path: Path, folder: Path, scorer, model: str = "m", **settings):
    return rank_data_set(DataSet(path), folder, by_scorer(scorer), model=model, settings=BulkSettings(**settings))


def order(row: dict) -> list[tuple]:
    return [(one["index"], one["logit"], one["id"], one["truncated"]) for one in row["ranking"]]


def test_every_row_gets_its_ranking_with_ids_and_places(scorer, tmp_path: Path) -> None:
    summary = rank(write(tmp_path / "a.jsonl", ROWS), tmp_path / "out", scorer)
    first, empty, last = read(tmp_path / "out")
    assert (first["file"], first["row"], first["id"], first["query"]) == ("a.jsonl", 1, "a", "q")
    assert order(first) == [(1, 6.0, None, False), (3, 6.0, None, False), (2, 5.0, 7, False), (0, 2.0, None, False)]
    assert [one["rank"] for one in first["ranking"]] == [1, 2, 3, 4]
    assert (empty["ranking"], empty["id"]) == ([], None)
    assert order(last)[0] == (1, 5.0, None, True)
    assert last["ranking"][1]["score"] == 0.0, "a passage without text comes last"
    assert (summary.rows, summary.bad, summary.parts, summary.parts_before) == (3, 0, 1, 0)


def test_an_interrupt_does_not_wait_for_the_parts_under_way(tmp_path: Path) -> None:
    engine = GatedEngine()

    def interrupt() -> None:
        assert engine.started.wait(TIMEOUT)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    path = write(tmp_path / "a.jsonl", [{"query": "q", "passages": ["a" * n]} for n in range(1, 9)])
    sender = threading.Thread(target=interrupt)
    with BatchingScorer([engine], BatchSettings(max_batch_size=1)) as scorer:
        sender.start()
        with pytest.raises(KeyboardInterrupt):
            rank(path, tmp_path / "out", scorer, checkpoint_every=4)
        engine.gate.set()
    sender.join(TIMEOUT)
    assert len(engine.batches) == 1


def test_parquet_is_ranked_as_json_lines_are(scorer, tmp_path: Path) -> None:
    rows = [{"id": f"q{n}", "query": f"q{n}", "passages": ["a" * (k + n) for k in range(1, 4)]} for n in range(5)]
    structs = [
        {**row, "passages": [{"id": f"p{k}", "text": text} for k, text in enumerate(row["passages"])]} for row in rows
    ]
    rank(write(tmp_path / "a.jsonl", rows), tmp_path / "json", scorer)
    parquet = pytest.importorskip("pyarrow.parquet")
    for name, given_rows in (("strings", rows), ("structs", structs)):
        rank(write_parquet(tmp_path / f"{name}.parquet", given_rows), tmp_path / name, scorer, checkpoint_every=5)
        parts = sorted((tmp_path / name).glob("part-*.parquet"))
        found = [row for part in parts for row in parquet.read_table(part).to_pylist()]
        assert len(parts) == 3
        expected = read(tmp_path / "json")
        assert [row["ranking"][0]["id"] for row in found] == [None if name == "strings" else "p2"] * 5
        assert [(row["row"], row["id"], row["query"]) for row in found] == [
            (row["row"], row["id"], row["query"]) for row in expected
        ]
        assert [
            [(one["rank"], one["index"], one["logit"], one["score"]) for one in row["ranking"]] for row in found
        ] == [[(one["rank"], one["index"], one["logit"], one["score"]) for one in row["ranking"]] for row in expected]


def test_the_threshold_then_top_k_and_logits_are_those_of_a_ranking(scorer, tmp_path: Path) -> None:
    rank(write(tmp_path / "a.jsonl", ROWS), tmp_path / "out", scorer, top_k=2, score_threshold=5.5, scale_score=False)
    assert [[one["score"] for one in row["ranking"]] for row in read(tmp_path / "out")] == [[6.0, 6.0], [], []]


def test_what_was_kept_is_not_scored_again_and_the_rest_is(scorer, tmp_path: Path) -> None:
    rows = [{"query": f"q{n}", "passages": [f"passage {n}" + "e" * n]} for n in range(10)]
    path, folder = write(tmp_path / "a.jsonl", rows), tmp_path / "out"
    assert rank(path, folder, scorer, checkpoint_every=3).parts == 4
    whole = read(folder)
    (folder / "part-000002.jsonl").unlink()
    (folder / "part-000001.jsonl.new").write_text("killed while it was written")
    before = scorer.snapshot().pairs
    again = rank(path, folder, scorer, checkpoint_every=3)
    assert (again.rows, again.parts, again.parts_before) == (10, 4, 3)
    assert scorer.snapshot().pairs - before == 3
    assert read(folder) == whole


def test_a_run_that_is_broken_off_keeps_its_parts_and_goes_on(scorer, tmp_path: Path) -> None:
    rows = [{"query": f"q{n}", "passages": ["a" * (n + 1)]} for n in range(9)]
    path, folder = write(tmp_path / "a.jsonl", rows), tmp_path / "out"

    def breaks_off(blocks, windows):
        for number, found in enumerate(by_scorer(scorer, in_flight=1)(blocks, windows)):
            if number == 2:
                raise KeyboardInterrupt
            yield found

    settings = BulkSettings(checkpoint_every=2)
    with pytest.raises(KeyboardInterrupt):
        rank_data_set(DataSet(path), folder, breaks_off, model="m", settings=settings)
    assert len(read(folder)) == 4
    assert rank(path, folder, scorer, checkpoint_every=2).parts_before == 2
    assert [row["query"] for row in read(folder)] == [f"q{n}" for n in range(9)]


BAD_LINES = [
    (b'{"query": "q"}', "a list in 'passages', found none"),
    (b'{"query": 3, "passages": []}', "a string in 'query', found int"),
    (b'{"query": " ", "passages": []}', "a query with text, found ' '"),
    (b'{"passages": []}', "a string in 'query', found none"),
    (b"[1]", "found list"),
    (b'{"query": "q", "passages": ["a", 3]}', "as passage 1, found int"),
    (b'{"query": "q", "passages": [{"txt": "a"}]}', "'page_content' as passage 0, found an object with 'txt'"),
    (b'{"query": "q", "passages": "a"}', "a list in 'passages', found str"),
    (b'{"query": "q", "pass', "found what is no JSON"),
    (b'{"query": "\xff", "passages": []}', "found what is no JSON in UTF-8"),
    (rb'{"query": "\ud83d", "passages": []}', "surrogates not allowed"),
    (b"[" * 100_000, "found what is no JSON"),
]


@pytest.mark.parametrize("packed", [False, True])
def test_bad_rows_are_told_with_their_lines_and_the_rest_is_ranked(scorer, tmp_path: Path, packed: bool) -> None:
    good = json.dumps(ROWS[0]).encode()
    content = b"\n".join([good, b"", *(line for line, _ in BAD_LINES), good])
    path = tmp_path / ("a.jsonl.gz" if packed else "a.jsonl")
    path.write_bytes(gzip.compress(content) if packed else content)
    summary = rank(path, tmp_path / "out", scorer, on_error="skip", checkpoint_every=4)
    assert (summary.rows, summary.bad) == (len(BAD_LINES) + 2, len(BAD_LINES))
    assert [row["row"] for row in read(tmp_path / "out")] == [1, len(BAD_LINES) + 3]
    told = [json.loads(x) for one in sorted((tmp_path / "out").glob("errors-*")) for x in one.read_text().splitlines()]
    assert [one["number"] for one in told] == [*range(3, len(BAD_LINES) + 3)]
    for one, (_, reason) in zip(told, BAD_LINES, strict=True):
        assert f"{path}, line {one['number']}: expected" in one["error"]
        assert reason in one["error"]


def test_a_bad_row_ends_the_run_unless_it_may_be_skipped_and_the_run_can_go_on_then(scorer, tmp_path: Path) -> None:
    path, folder = write(tmp_path / "a.jsonl", [ROWS[0], ROWS[0], {"query": "q"}, ROWS[0]]), tmp_path / "out"
    with pytest.raises(CollectionError, match="line 3: expected a list in 'passages', found none; on_error='skip'"):
        rank(path, folder, scorer, checkpoint_every=1)
    assert len(read(folder)) == 2
    summary = rank(path, folder, scorer, checkpoint_every=1, on_error="skip")
    assert (summary.bad, summary.parts_before, len(read(folder))) == (1, 2, 3)


def test_a_row_that_the_model_fails_on_is_told_and_takes_no_other_with_it(scorer, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [ROWS[0], {"query": "q", "passages": ["un poison", "a"]}, ROWS[2]])
    with pytest.raises(ScoringError, match=r"a.jsonl, row 2: .*on_error='skip'"):
        rank(path, tmp_path / "fails", scorer)
    assert rank(path, tmp_path / "out", scorer, on_error="skip").bad == 1
    assert [row["row"] for row in read(tmp_path / "out")] == [1, 3]
    assert rank(path, tmp_path / "out", scorer, on_error="skip").bad == 1, "it is not forgotten"


@pytest.mark.parametrize(
    ("other", "said"),
    [({"model": "n"}, "another model"), ({"top_k": 1}, "another top_k"), ({"checkpoint_every": 9}, "checkpoint_every")],
)
def test_a_folder_of_other_rankings_is_refused(scorer, tmp_path: Path, other: dict, said: str) -> None:
    path, folder = write(tmp_path / "a.jsonl", ROWS), tmp_path / "out"
    rank(path, folder, scorer)
    with pytest.raises(SettingsError, match=f"{said}.*name another folder"):
        rank(path, folder, scorer, **other)
    write(path, ROWS[:1])
    with pytest.raises(SettingsError, match="another data set"):
        rank(path, folder, scorer)


def test_two_writers_and_a_folder_in_itself_are_refused(scorer, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.jsonl", ROWS)
    with pytest.raises(SettingsError, match="holds the data set"):
        rank(tmp_path / "in", tmp_path / "in", scorer)
    held = PartFolder(tmp_path / "out", "jsonl", {})
    with pytest.raises(IndexLockedError, match="in process") as caught:
        rank(tmp_path / "in", tmp_path / "out", scorer)
    assert "read_only" not in str(caught.value), "that is for indexes"
    held.close()


@pytest.mark.parametrize(
    ("out", "said"), [("taken", "taken is a file"), ("taken/inside", "cannot be written to"), ("x" * 300, "cannot be")]
)
def test_a_place_that_cannot_be_written_to_is_refused(scorer, tmp_path: Path, out: str, said: str) -> None:
    (tmp_path / "taken").write_text("of someone else")
    with pytest.raises(SettingsError, match=f"{said}.*name another folder"):
        rank(write(tmp_path / "a.jsonl", ROWS), tmp_path / out, scorer)
    assert (tmp_path / "taken").read_text() == "of someone else"


@pytest.mark.parametrize("foreign", [b"[1, 2]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_a_folder_with_a_file_of_ours_by_someone_else_is_refused(scorer, tmp_path: Path, foreign: bytes) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ranking.json").write_bytes(foreign)
    for _ in range(2):  # the folder is let go of
        with pytest.raises(SettingsError, match=r"ranking\.json was not written by this command; name another"):
            rank(write(tmp_path / "a.jsonl", ROWS), tmp_path / "out", scorer)


def test_a_disk_that_fails_on_the_way_is_told(tmp_path: Path) -> None:
    parts = PartFolder(tmp_path / "out", "jsonl", {})
    (tmp_path / "out" / "part-000000.jsonl.new").mkdir()
    with pytest.raises(SettingsError, match="out cannot be written to"):
        parts.write(0, [], [])
    parts.close()


def test_a_folder_is_read_file_by_file(scorer, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "b.jsonl", ROWS[1:])
    write(tmp_path / "in" / "a.ndjson", ROWS[:1])
    (tmp_path / "in" / "README.md").write_text("no row")
    rank(tmp_path / "in", tmp_path / "out", scorer)
    assert [(row["file"], row["row"]) for row in read(tmp_path / "out")] == [
        ("a.ndjson", 1),
        ("b.jsonl", 1),
        ("b.jsonl", 2),
    ]


@pytest.mark.parametrize("damage", ["no gzip", "cut short", "broken inside", "another checksum"])
def test_a_damaged_gzip_file_is_told_with_its_path(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress(write(tmp_path / "plain.jsonl", ROWS * 50).read_bytes(), mtime=0)
    middle = len(whole) // 2
    path.write_bytes(
        {
            "no gzip": b"no gzip",
            "cut short": whole[:middle],
            "broken inside": whole[:10] + b"\xff" * 20 + whole[30:],
            "another checksum": whole[:-8] + b"\0" * 8,
        }[damage]
    )
    with pytest.raises(CollectionError, match=r"a\.jsonl\.gz: expected a whole gzip file"):
        list(DataSet(path).rows())


def test_what_is_no_data_set_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match="no file or folder"):
        DataSet(tmp_path / "none")
    with pytest.raises(CollectionError, match="expected files that end in .jsonl"):
        DataSet(tmp_path)
    with pytest.raises(CollectionError, match="expected a file that ends in"):
        DataSet(write(tmp_path / "a.csv", ROWS))
    write(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(CollectionError, match="files of one kind"):
        DataSet(tmp_path)
    pytest.importorskip("pyarrow")
    with pytest.raises(CollectionError, match="a Parquet file that can be read"):
        list(DataSet(tmp_path / "broken.parquet").rows())
    other = write_parquet(tmp_path / "other.parquet", [{"question": "q", "passages": ["a"]}])
    with pytest.raises(CollectionError, match="the columns 'query' and 'passages', found question, passages"):
        list(DataSet(other).rows())


@given(st.lists(st.integers(0, 9)), st.integers(1, 12))
def test_parts_hold_all_rows_in_order_and_as_many_passages_as_was_said(sizes: list[int], pairs: int) -> None:
    rows = [
        BadRow("f", n, "") if size == 9 else Row("f", n, None, "q", [None] * size)  # type: ignore[list-item]
        for n, size in enumerate(sizes)
    ]
    parts = list(in_parts(rows, pairs))
    assert [part.number for part in parts] == [*range(len(parts))]
    numbers = [sorted(row.number for row in [*part.rows, *part.bad]) for part in parts]
    assert [number for some in numbers for number in some] == [*range(len(rows))]
    for part in parts[:-1]:
        assert len(part.bad) + sum(max(1, len(row.passages)) for row in part.rows) >= pairs


@pytest.mark.parametrize("wrong", [{"top_k": 0}, {"on_error": "ignore"}, {"checkpoint_every": 0}])
def test_settings_that_mean_nothing_are_refused(wrong: dict) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        BulkSettings(**wrong)
