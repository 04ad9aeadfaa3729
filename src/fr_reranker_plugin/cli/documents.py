"""Reading what is to be indexed: passages with ids and metadata, or texts to cut into passages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from fr_reranker_plugin.cli.passages import read_passages
from fr_reranker_plugin.cli.source import STANDARD_INPUT, read_source
from fr_reranker_plugin.errors import CollectionError
from fr_reranker_plugin.retrieval.documents import StoredDocument
from fr_reranker_plugin.retrieval.text_splitting import split_passages

_TEXTS: Final = (".md", ".markdown", ".txt")
_PASSAGES: Final = (".jsonl", ".ndjson", ".json")
_CORPUS_FILE: Final = "corpus.jsonl"


class SourceDocuments:
    """The documents of files and folders, one source after the other; blank ones are left out.

    Texts (.md, .txt) are cut into passages; the id of a passage is the path and a number. JSON and JSON lines hold one
    document each, with its `id` and, if there is one, its `metadata`; without an id it gets the path and a number.
    Iterating raises `CollectionError` where a file cannot be read, is malformed, or is of a kind that is not known.

    :param words: Most words of a passage.
    :param apart_from: A folder of which nothing is read: that of the index, which may be inside a source.
    :raises CollectionError: If there is nothing to read in a folder.
    """

    def __init__(self, sources: Sequence[str], *, words: int, apart_from: Path | None = None) -> None:
        self.passages_of_texts: dict[str, int] = {}
        """How many passages each text has that was read so far, by its path."""
        self._words = words
        self._files = [path for source in sources for path in _files(source, apart_from)]

    def __iter__(self) -> Iterator[StoredDocument]:
        for path in self._files:
            documents = self._passages_of(path) if _is_text(path) else _documents_of(path)
            yield from (document for document in documents if document.text.strip())

    def _passages_of(self, path: str) -> Iterator[StoredDocument]:
        self.passages_of_texts[path] = 0
        for number, passage in enumerate(split_passages(read_source(path).text, words=self._words), start=1):
            self.passages_of_texts[path] = number
            yield StoredDocument(passage_id(path, number), passage, {"source": path, "passage": number})


def passage_id(path: str, number: int) -> str:
    """Give the id of a passage, or of a document without one."""
    return f"{path}#{number}"


def _files(source: str, apart_from: Path | None) -> Iterable[str]:
    """Give the files to read: a folder's own, or a BEIR folder and any other source as they are."""
    folder = Path(source)
    if source == STANDARD_INPUT or not folder.is_dir() or (folder / _CORPUS_FILE).is_file():
        return [source]
    kinds = _TEXTS + _PASSAGES
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in kinds and path.is_file()]
    if apart_from is not None:
        files = [path for path in files if not path.resolve().is_relative_to(apart_from.resolve())]
    if not files:
        raise CollectionError(f"{source}: expected files that end in {', '.join(kinds)}, found none to read")
    return map(str, files)


def _is_text(path: str) -> bool:
    suffix = Path(path).suffix.lower()
    known = path == STANDARD_INPUT or Path(path).is_dir() or suffix in _TEXTS + _PASSAGES
    if not known:
        raise CollectionError(
            f"{path}: expected a file that ends in {', '.join(_TEXTS + _PASSAGES)}; turn other formats into text first"
        )
    return suffix in _TEXTS


def _documents_of(path: str) -> Iterator[StoredDocument]:
    for number, passage in enumerate(read_passages(path), start=1):
        name = passage_id(path, number) if passage.id is None else str(passage.id)
        yield StoredDocument(name, passage.text, dict(passage.metadata))
