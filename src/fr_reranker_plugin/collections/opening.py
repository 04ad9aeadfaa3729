"""Open a judged collection, whichever form it has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from fr_reranker_plugin.collections.beir import iter_corpus, iter_queries, load_qrels, sample_folder
from fr_reranker_plugin.collections.candidate_lists import is_jsonl, is_top1000, pool_list_qrels, read_candidates
from fr_reranker_plugin.collections.ir_datasets_collection import load_ir_datasets
from fr_reranker_plugin.collections.judged import JudgedCollection, Passage, Qrels
from fr_reranker_plugin.collections.lines import check_file, malformed, numbered_lines
from fr_reranker_plugin.collections.ms_marco import (
    iter_top1000_passages,
    iter_top1000_queries,
    iter_tsv_passages,
    iter_tsv_texts,
)
from fr_reranker_plugin.collections.trec import load_trec_qrels
from fr_reranker_plugin.errors import CollectionError

SAMPLE: Final = "sample"
"""The name that stands for the collection inside this package."""

_READ_AT_ONCE: Final = 1 << 20
_TREC_COLUMNS: Final = 4
_BEIR_COLUMNS: Final = 3


def open_collection(name: str, split: str = "test", *, candidates: Path | None = None) -> JudgedCollection:
    """Open a collection by its name.

    :param name: `"sample"`, a BEIR folder, or a collection of ir_datasets.
    :param split: Which judgements of a BEIR folder.
    :param candidates: Candidate lists that take the place of those that come with the collection.
    :raises CollectionError: If there is no such collection, or it is malformed.
    """
    folder = sample_folder() if name == SAMPLE else Path(name)
    if not folder.is_dir():
        if folder.is_absolute() or name.startswith(("./", "../", "~")):
            raise CollectionError(f"there is no folder {name!r}")
        return _with_candidates(load_ir_datasets(name), candidates)
    return open_files(
        corpus=_found(folder, "corpus.jsonl"),
        queries=_found(folder, "queries.jsonl"),
        qrels=folder / "qrels" / f"{split}.tsv",
        candidates=candidates,
        name=f"{folder.resolve().name} ({split})",
    )


def open_named(name: str, *, candidates: Path | None = None) -> JudgedCollection:
    """Open a collection by its name, as `open_collection` does, or a split of it as `FOLDER:SPLIT`.

    :raises CollectionError: If there is no such collection, or it is malformed.
    """
    folder, colon, split = name.rpartition(":")
    if colon and (folder == SAMPLE or Path(folder).is_dir()):
        return open_collection(folder, split, candidates=candidates)
    return open_collection(name, candidates=candidates)


def open_files(
    *, corpus: Path | None, queries: Path | None, qrels: Path | None, candidates: Path | None = None, name: str
) -> JudgedCollection:
    """Open a collection whose parts are files, each recognised by its contents.

    :param corpus: `corpus.jsonl` of BEIR or `collection.tsv` of MS MARCO. May be left out beside a `top1000.tsv`.
    :param queries: `queries.jsonl` or tab-separated ids and texts. May be left out beside a `top1000.tsv`.
    :param qrels: Judgements of BEIR or TREC. May be left out beside JSONL lists, which name the positives.
    :param candidates: Candidate lists, see `read_candidates`.
    :raises CollectionError: If a part is missing or malformed.
    """
    judged = _judgements(qrels, candidates, name)
    return JudgedCollection(
        name=name,
        queries={query: text for query, text in _texts_of_queries(queries, candidates, name) if query in judged},
        qrels=judged,
        passages=_texts_of_passages(corpus, candidates, name),
        fingerprint=files_fingerprint([path for path in (corpus, queries, qrels, candidates) if path is not None]),
        candidates=None if candidates is None else partial(read_candidates, candidates),
    )


def read_qrels(path: Path) -> Qrels:
    """Read judgements: BEIR's three columns, or TREC's four.

    :raises CollectionError: If the file is missing, malformed or neither.
    """
    for number, line in numbered_lines(path):
        if len(line.split("\t")) == _BEIR_COLUMNS:
            return load_qrels(path)
        if len(line.split()) == _TREC_COLUMNS:
            return load_trec_qrels(path)
        raise malformed(path, number, "BEIR's three columns or TREC's four", repr(line[:60]))
    raise CollectionError(f"{path} is empty; expected judgements")


def read_queries(path: Path) -> Iterator[tuple[str, str]]:
    """Yield id and text of each query of a JSONL or tab-separated file.

    :raises CollectionError: If the file is missing or malformed.
    """
    return iter_queries(path) if is_jsonl(path) else iter_tsv_texts(path)


def read_passages(path: Path) -> Callable[[], Iterator[tuple[str, Passage]]]:
    """Give what reads the passages of a JSONL or tab-separated file from the start.

    :raises CollectionError: If the file is missing or empty.
    """
    return partial(iter_corpus if is_jsonl(path) else iter_tsv_passages, path)


def _judgements(qrels: Path | None, candidates: Path | None, name: str) -> Qrels:
    if qrels is not None:
        return read_qrels(qrels)
    if candidates is not None and is_jsonl(candidates):
        return pool_list_qrels(candidates)
    raise CollectionError(f"{name}: there are no judgements; give a qrels file, or JSONL lists that name the positives")


def _texts_of_queries(queries: Path | None, candidates: Path | None, name: str) -> Iterator[tuple[str, str]]:
    if queries is not None:
        return read_queries(queries)
    if candidates is not None and is_top1000(candidates):
        return iter_top1000_queries(candidates)
    raise CollectionError(f"{name}: there are no texts of queries; give their file, or a top1000 list, which has them")


def _texts_of_passages(
    corpus: Path | None, candidates: Path | None, name: str
) -> Callable[[], Iterator[tuple[str, Passage]]]:
    if corpus is not None:
        return read_passages(corpus)
    if candidates is not None and is_top1000(candidates):
        return partial(iter_top1000_passages, candidates)
    raise CollectionError(f"{name}: there are no texts of passages; give their file, or a top1000 list, which has them")


def _with_candidates(collection: JudgedCollection, path: Path | None) -> JudgedCollection:
    if path is None:
        return collection
    fingerprint = f"{collection.fingerprint} {files_fingerprint([path])}"
    return replace(collection, candidates=partial(read_candidates, path), fingerprint=fingerprint)


def _found(folder: Path, name: str) -> Path:
    packed = folder / f"{name}.gz"
    return packed if packed.is_file() and not (folder / name).is_file() else folder / name


def files_fingerprint(paths: list[Path]) -> str:
    """Give the SHA-256 of the contents of files, one after the other.

    :raises CollectionError: If one is missing, or no file.
    """
    checksum = hashlib.sha256()
    for path in paths:
        check_file(path)
        with path.open("rb") as file:
            while block := file.read(_READ_AT_ONCE):
                checksum.update(block)
        checksum.update(b"\x00")
    return checksum.hexdigest()
