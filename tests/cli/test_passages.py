"""Passages are read from every format, and a broken one is refused with its place."""

import io
import json
import sys
from pathlib import Path

import pytest

from fr_reranker_plugin import CollectionError
from fr_reranker_plugin.cli.passages import PassageFormat, format_of, read_passages
from fr_reranker_plugin.collections.written_passages import InputPassage

TEXTS = ["Une carte\u2028d'identité.\x0cPage 2", "L'été 👨‍👩‍👧 à Orléans", "[sic] {une} phrase"]


def written(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def rows(*items: object) -> str:
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


CONTENTS = {
    "lines.txt": "\n".join(TEXTS),
    "lines.md": "\r\n\r\n".join(TEXTS) + "\r\n",
    "marked.txt": "\ufeff" + "\n".join(TEXTS),
    "strings.json": json.dumps(TEXTS),
    "objects.json": json.dumps([{"content": text} for text in TEXTS], indent=2),
    "langchain": json.dumps([{"page_content": text, "metadata": {"n": 1}} for text in TEXTS]),
    "objects.jsonl": rows(*({"text": text} for text in TEXTS)),
    "strings.jsonl": rows(*TEXTS),
    "no_suffix": rows(*({"text": text, "title": None} for text in TEXTS)),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_every_format_gives_the_same_texts(name: str, tmp_path: Path) -> None:
    passages = read_passages(written(tmp_path, name, CONTENTS[name]))
    assert [passage.text for passage in passages] == TEXTS


@pytest.mark.parametrize("name", CONTENTS)
def test_standard_input_is_read_like_a_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO(CONTENTS[name].encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content, encoding="utf-8"))
    form = PassageFormat.JSONL if name == "strings.jsonl" else PassageFormat.AUTO  # a quoted line could be text, too
    assert [passage.text for passage in read_passages("-", form)] == TEXTS


def test_titles_and_ids_come_along(tmp_path: Path) -> None:
    objects = [{"_id": "a", "title": "Été", "text": "Chaud."}, {"id": 7, "content": "Froid."}, {"text": None}]
    expected = [InputPassage("Été\nChaud.", "a"), InputPassage("Froid.", 7), InputPassage("", None)]
    assert read_passages(written(tmp_path, "a.json", json.dumps(objects))) == expected
    assert read_passages(written(tmp_path, "a.jsonl", rows(*objects))) == expected


@pytest.mark.parametrize("form", [PassageFormat.AUTO, PassageFormat.BEIR])
def test_a_beir_corpus_is_read_by_folder_or_file(form: PassageFormat, tmp_path: Path) -> None:
    file = written(tmp_path, "corpus.jsonl", rows({"_id": "a", "title": "Été", "text": "Chaud."}))
    assert read_passages(str(tmp_path), form) == read_passages(file, form) == [InputPassage("Été\nChaud.", "a")]


def test_a_beir_corpus_may_not_have_an_id_twice(tmp_path: Path) -> None:
    twice = rows({"_id": "a", "text": "x"}, {"_id": "a", "text": "y"})
    with pytest.raises(CollectionError, match="line 2: the id 'a' stands there twice"):
        read_passages(written(tmp_path, "corpus.jsonl", twice))
    assert len(read_passages(written(tmp_path, "other.jsonl", twice))) == 2


@pytest.mark.parametrize("name", ["empty.txt", "empty.json", "empty.jsonl", "empty"])
@pytest.mark.parametrize("content", ["", "\n  \n"])
def test_an_empty_file_holds_no_passages(name: str, content: str, tmp_path: Path) -> None:
    assert read_passages(written(tmp_path, name, content)) == []


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("[sic] une phrase", PassageFormat.TEXT),
        ("{une} phrase", PassageFormat.TEXT),
        ('"une phrase"', PassageFormat.TEXT),
        ("", PassageFormat.TEXT),
        ("[]", PassageFormat.JSON),
        (' [\n {"text"', PassageFormat.JSON),
        ('["a"', PassageFormat.JSON),
        ('\n{"text": "a"}', PassageFormat.JSONL),
        ("{}", PassageFormat.JSONL),
    ],
)
def test_the_format_is_seen_from_the_first_characters(text: str, form: PassageFormat) -> None:
    assert format_of(text) is form


BROKEN = {
    "line of no object": (
        "a.jsonl",
        '{"text": "a"}\n\n12\n',
        r"a\.jsonl, line 3: expected a string or an object .*found int",
    ),
    "line cut short": (
        "a.jsonl",
        '{"text": "a"}\n{"text": "b\n',
        r"line 2: expected a string or an object .*found '\{",
    ),
    "line without text": ("a.jsonl", '{"txt": "a", "id": 1}', r"line 1: expected .*found an object with 'txt', 'id'"),
    "text of another type": ("a.jsonl", '{"text": ["a"]}', r"line 1: expected a string in 'text', found list"),
    "title of another type": ("a.jsonl", '{"text": "a", "title": 3}', r"expected a string in 'title', found int"),
    "item of no object": ("a.json", '["a", 3.5]', r"a\.json, item 2: expected a string or an object .*found float"),
    "list cut short": ("a.json", '[{"text": "a"},\n', r"a\.json, line 2: expected a JSON list of passages, found ''"),
    "no list": ("a.json", '{"text": "a"}', r"a\.json: expected a JSON list of passages, found dict"),
    "broken, by content": ("a", '[{"text": "a"} {"text": "b"}]', r"line 1: .*Expecting ',' delimiter"),
    "latin-1": ("a.txt", "a\nété".encode("latin-1"), r"a\.txt, line 2: expected UTF-8, found the byte 0xe9"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_with_place_expectation_and_find(case: str, tmp_path: Path) -> None:
    name, content, reason = BROKEN[case]
    with pytest.raises(CollectionError, match=reason):
        read_passages(written(tmp_path, name, content))


def test_a_format_that_is_named_is_not_doubted(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", '["a"]\n')
    assert read_passages(path, PassageFormat.TEXT) == [InputPassage('["a"]')]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match=r"there is no file .*absent\.txt"):
        read_passages(str(tmp_path / "absent.txt"))
    with pytest.raises(CollectionError, match=r"there is no file .*corpus\.jsonl"):
        read_passages(str(tmp_path))
