"""Documents by the words they share with a question: BM25 with French analysis."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from fr_reranker_plugin.errors import DuplicateDocumentError, IndexFolderError, SettingsError
from fr_reranker_plugin.retrieval.bm25 import BM25, BM25Settings
from fr_reranker_plugin.retrieval.documents import StoredDocument, check_document
from fr_reranker_plugin.retrieval.french_analysis import FRENCH_STOP_WORDS, FrenchAnalyzer
from fr_reranker_plugin.retrieval.lexical_folder import load_generation, save_generation
from fr_reranker_plugin.scoring.settings import check_whole_number

Mask = npt.NDArray[np.bool_]
"""For each document of an index, whether it may be found."""

_IDS_FILE: Final = "ids.json"


class LexicalIndex:
    """BM25 over the texts of documents; it keeps their ids, and not the texts.

    Build it with `build` or `load`. It does not change afterwards; safe to search from any number of threads.
    """

    def __init__(self, ids: Sequence[str], scores: BM25, analyzer: FrenchAnalyzer, settings: BM25Settings) -> None:
        self._ids = ids
        self._position = {identifier: position for position, identifier in enumerate(ids)}
        self._scores = scores
        self._analyzer = analyzer
        self.settings = settings

    def __len__(self) -> int:
        return len(self._ids)

    @classmethod
    def build(cls, documents: Iterable[StoredDocument], *, settings: BM25Settings | None = None) -> Self:
        """Index the texts of `documents`, which are read once.

        Put what a document should be found by into its text: a title on a line of its own before it helps.

        :param settings: `None`: the usual ones.
        :raises DuplicateDocumentError: If an id stands twice.
        :raises SettingsError: If a document is none, or its id or text is not a string.
        :raises MissingDependencyError: If bm25s or PyStemmer is not installed.
        """
        settings = settings or BM25Settings()
        analyzer = _analyzer(settings)
        ids: dict[str, None] = {}
        terms = (analyzer(document.text) for document in _noting_ids(documents, ids))
        scores = BM25.build(terms, k1=settings.k1, b=settings.b)
        return cls(list(ids), scores, analyzer, settings)

    def search(
        self, queries: Sequence[str], k: int, *, ids: Collection[str] | None = None
    ) -> list[list[tuple[str, float]]]:
        """Give for each query the ids of the best `k` documents with their BM25 scores, best first.

        Only documents that share a word with the query are found, so there may be fewer than `k`, and none for a query
        without words. Scores are above 0 and not bounded. Equal scores keep the order of the documents. Queries are
        worked on one after another, with one number per document in memory.

        :param ids: Find these documents only: what the full ranking would be without all others. Rareness and lengths
            are still those of the whole collection. Unknown ids find nothing.
        :raises SettingsError: If `k` is below 1 or a query is not a string.
        """
        return self.search_among(queries, k, None if ids is None else self.mask(ids))

    def search_among(self, queries: Sequence[str], k: int, among: Mask | None) -> list[list[tuple[str, float]]]:
        """As `search`, for the documents that a `mask` has; `None`: for all."""
        check_whole_number("k", k)
        if isinstance(queries, str):
            raise SettingsError("expected a list of queries, got one string; put it into a list")
        return [self._search(query, k, among) for query in queries]

    def mask(self, ids: Collection[str]) -> Mask:
        """Tell for each document whether it is one of these; unknown ids are none."""
        if isinstance(ids, str):
            raise SettingsError("expected a list of ids, got one string; put it into a list")
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[[self._position[identifier] for identifier in ids if identifier in self._position]] = True
        return mask

    def fingerprint(self) -> str:
        """Give a checksum of the ids in their order: tells whether two indexes are of the same documents."""
        return _checksum(self._ids)

    def save(self, folder: Path | str) -> None:
        """Save the index in a folder of its own, and replace the one that is there.

        Whatever happens meanwhile, the folder holds the old index or the new one. Nothing is pickled.

        :raises IndexFolderError: If the folder cannot be written to, or holds something else.
        """
        words = self.settings.stop_words
        facts = {
            "documents": len(self),
            "ids": self.fingerprint(),
            "analysis": self._analyzer.fingerprint(),
            "settings": {
                "k1": self.settings.k1,
                "b": self.settings.b,
                "stop_words": None if words is None else sorted(words),
            },
        }
        save_generation(Path(folder), facts, self._write)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read a saved index, and check that it is what was saved.

        :raises IndexFolderError: If there is none, a file is missing or damaged, or French is analysed otherwise now,
            so that questions would not match.
        :raises MissingDependencyError: If bm25s or PyStemmer is not installed.
        """
        return load_generation(Path(folder), cls._read)

    def _search(self, query: str, k: int, among: Mask | None) -> list[tuple[str, float]]:
        positions, scores = self._scores.search(self._analyzer(query), k, among=among)
        return [(self._ids[at], score) for at, score in zip(positions.tolist(), scores.tolist(), strict=True)]

    def _write(self, folder: Path) -> None:
        self._scores.save(folder)
        (folder / _IDS_FILE).write_text(json.dumps(self._ids), encoding="utf-8")

    @classmethod
    def _read(cls, folder: Path, facts: Mapping[str, Any]) -> Self:
        settings = BM25Settings(**facts["settings"])
        analyzer = _analyzer(settings)
        if analyzer.fingerprint() != facts["analysis"]:
            raise IndexFolderError(
                f"{folder.parent} was indexed with another analysis of French (another version of PyStemmer or of this "
                "package); index the documents again"
            )
        ids = json.loads((folder / _IDS_FILE).read_text(encoding="utf-8"))
        return cls(ids, BM25.load(folder), analyzer, settings)


def _analyzer(settings: BM25Settings) -> FrenchAnalyzer:
    return FrenchAnalyzer(FRENCH_STOP_WORDS if settings.stop_words is None else settings.stop_words)


def _noting_ids(documents: Iterable[StoredDocument], ids: dict[str, None]) -> Iterator[StoredDocument]:
    """Yield the documents, and put their ids into `ids`."""
    for place, document in enumerate(documents):
        check_document(place, document)
        if not isinstance(document.id, str):
            raise SettingsError(f"a document's id must be a string, got {type(document.id).__name__}")
        if document.id in ids:
            raise DuplicateDocumentError(f"the id {document.id!r} stands twice; give each document once")
        ids[document.id] = None
        yield document


def _checksum(ids: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for identifier in ids:
        digest.update(json.dumps(identifier).encode() + b"\n")
    return digest.hexdigest()
