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


def read_documents(sources: Sequence[str], *, words: int) -> Iterator[StoredDocument]:
    """Yield the documents of files and folders, one source after the other; a blank one is left out.

    Texts (.md, .txt) are cut into passages; the id of a passage is the path and a number. JSON and JSON lines hold one
    document each, with its `id` and, if there is one, its `metadata`; without an id it gets the path and a number.

    :param words: Most words of a passage.
    :raises CollectionError: If a source cannot be read, is malformed, or is of a kind that is not known.
    """
    for source in sources:
        for path in _files(source):
            documents = _passages_of(path, words) if _is_text(path) else _documents_of(path)
            yield from (document for document in documents if document.text.strip())


def _files(source: str) -> Iterable[str]:
    """Give the files to read: a folder's own, or a BEIR folder and any other source as they are."""
    folder = Path(source)
    if source == STANDARD_INPUT or not folder.is_dir() or (folder / _CORPUS_FILE).is_file():
        return [source]
    files = [str(path) for path in sorted(folder.rglob("*")) if path.suffix.lower() in _TEXTS + _PASSAGES]
    if not files:
        raise CollectionError(f"{source}: expected files that end in {', '.join(_TEXTS + _PASSAGES)}, found none")
    return files


def _is_text(path: str) -> bool:
    suffix = Path(path).suffix.lower()
    known = path == STANDARD_INPUT or Path(path).is_dir() or suffix in _TEXTS + _PASSAGES
    if not known:
        raise CollectionError(
            f"{path}: expected a file that ends in {', '.join(_TEXTS + _PASSAGES)}; turn other formats into text first"
        )
    return suffix in _TEXTS


def _passages_of(path: str, words: int) -> Iterator[StoredDocument]:
    for number, passage in enumerate(split_passages(read_source(path).text, words=words), start=1):
        yield StoredDocument(f"{path}#{number}", passage, {"source": path, "passage": number})


def _documents_of(path: str) -> Iterator[StoredDocument]:
    for number, passage in enumerate(read_passages(path), start=1):
        name = f"{path}#{number}" if passage.id is None else str(passage.id)
        yield StoredDocument(name, passage.text, dict(passage.metadata))
