"""Texts are found by id in a file that is not held."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fr_reranker_plugin.errors import CollectionError
from fr_reranker_plugin.evaluation.progress import show_nothing
from fr_reranker_plugin.training.text_table import TextTable

TEXT = st.text(st.characters(exclude_characters="\t\r\n", exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=50, deadline=None)
@given(texts=st.dictionaries(st.integers(0, 10**17), TEXT, max_size=8), end=st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_every_text_is_found_and_no_other(texts, end, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("table") / "collection.tsv"
    path.write_text("".join(f"{one}\t{text}{end}" for one, text in texts.items()), encoding="utf-8", newline="")
    with TextTable(path, show_nothing) as table:
        assert len(table) == len(texts)
        assert {one: table.get(one) for one in texts} == texts
        assert all(table.get(one + 1) is None for one in texts if one + 1 not in texts)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"1\ta\n2 b\n", r"line 2: expected a whole-number id, a tab and a text, found '2 b'"),
        (b"1\ta\n\nx\tb\n", r"line 3: expected a whole-number id"),
        (b"1\ta\tb\n", r"line 1: expected a whole-number id, a tab and a text"),
        (b"99999999999999999999\ta\n", r"line 1: expected a whole-number id"),
        (b"2\ta\n1\tb\n2\tc\n", r"expected each id once, found 2 twice"),
    ],
)
def test_a_bad_line_is_named(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "collection.tsv"
    path.write_bytes(content)
    with pytest.raises(CollectionError, match=reason):
        TextTable(path, show_nothing)


def test_files_that_cannot_be_read_at_any_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match="cannot be read"):
        TextTable(tmp_path / "absent.tsv", show_nothing)
    with pytest.raises(CollectionError, match="unpack it"):
        TextTable(tmp_path / "collection.tsv.gz", show_nothing)
    path = tmp_path / "latin.tsv"
    path.write_bytes("7\tété\n".encode("latin-1"))
    with TextTable(path, show_nothing) as table, pytest.raises(CollectionError, match="id 7: expected UTF-8"):
        table.get(7)
