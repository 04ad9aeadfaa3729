"""Candidate lists: which passages are ranked for each query, in the forms in which they are published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from fr_reranker_plugin.collections.judged import Candidate, Qrels
from fr_reranker_plugin.collections.lines import malformed, numbered_lines, read_jsonl
from fr_reranker_plugin.collections.ms_marco import read_ms_marco_run, read_top1000
from fr_reranker_plugin.collections.trec import read_trec_run
from fr_reranker_plugin.errors import CollectionError

_TREC_RUN: Final = 6
_MS_MARCO_RUN: Final = 3
_TOP1000: Final = 4

Reader = Callable[[Path], Iterator[Candidate]]


def read_candidates(path: Path) -> Iterator[Candidate]:
    """Yield the candidates of a file, whose first line tells which of these it is.

    - a TREC run: query, `Q0`, passage, rank, score, tag;
    - an MS MARCO run: query id, passage id, rank, with tabs;
    - an MS MARCO `top1000.tsv`: query id, passage id, query, passage, with tabs;
    - JSONL with one query a line: `{"qid": …, "pos": […], "neg": […]}`, as the lists of 1,000 candidates were published
      by the reference model's author (`antoinelouis/msmarco-dev-small-negatives` on the Hub).

    :raises CollectionError: If the file is missing, malformed or none of these.
    """
    return _reader_of(path)(path)


def has_order(path: Path) -> bool:
    """Tell whether the candidates of a query stand in the order of a first stage, as they do in runs."""
    return _reader_of(path) in (read_trec_run, read_ms_marco_run)


def read_pool_lists(path: Path) -> Iterator[Candidate]:
    """Yield the candidates of JSONL lists: the positives of a query, then its negatives; the order means nothing.

    Negatives may also be lists by the system that found them, as in `msmarco-hard-negatives`.

    :raises CollectionError: If the file is missing or malformed.
    """
    for number, row in read_jsonl(path):
        query = _identifier(row.get("qid"), "'qid'", path, number)
        passages = [*_ids(row.get("pos"), "pos", path, number), *_negatives(row.get("neg"), path, number)]
        for passage in dict.fromkeys(passages):
            yield Candidate(query, passage, None)


def pool_list_qrels(path: Path) -> Qrels:
    """Give the judgements that JSONL lists contain: grade 1 for the positives of each query.

    :raises CollectionError: If the file is missing or malformed, or is no JSONL.
    """
    return {
        _identifier(row.get("qid"), "'qid'", path, number): dict.fromkeys(_ids(row.get("pos"), "pos", path, number), 1)
        for number, row in read_jsonl(path)
    }


def is_jsonl(path: Path) -> bool:
    """Tell whether the first line of a file begins a JSON object.

    :raises CollectionError: If the file is missing or empty.
    """
    return _first_line(path).lstrip().startswith("{")


def is_top1000(path: Path) -> bool:
    """Tell whether a file has the four columns of a `top1000.tsv`.

    :raises CollectionError: If the file is missing or empty, or has four columns as a ranking with scores has them.
    """
    return not is_jsonl(path) and _has_top1000_columns(_first_line(path), path)


def _reader_of(path: Path) -> Reader:
    if is_jsonl(path):
        return read_pool_lists
    line = _first_line(path)
    if _has_top1000_columns(line, path):
        return read_top1000
    if len(line.split("\t")) == _MS_MARCO_RUN:
        return read_ms_marco_run
    if len(line.split()) == _TREC_RUN:
        return read_trec_run
    raise malformed(
        path, 1, "a TREC run, an MS MARCO run, a top1000 list or JSONL with qid, pos and neg", repr(line[:60])
    )


def _has_top1000_columns(line: str, path: Path) -> bool:
    columns = line.split("\t")
    if len(columns) == _TOP1000 and all(map(_is_number, columns[2:])):
        raise malformed(
            path,
            1,
            "a top1000 list (query id, passage id, query, passage) or a run of three columns (query id, passage id, "
            "rank) or six (query, Q0, passage, rank, score, tag)",
            f"four with numbers in the last two, {line[:60]!r}; of a ranking with scores, leave out the fourth column",
        )
    return len(columns) == _TOP1000


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first_line(path: Path) -> str:
    for _, line in numbered_lines(path):
        return line
    raise CollectionError(f"{path} is empty; expected candidates")


def _negatives(value: object, path: Path, number: int) -> list[str]:
    if isinstance(value, dict):
        return [one for system, ids in value.items() for one in _ids(ids, f"neg.{system}", path, number)]
    return _ids(value, "neg", path, number)


def _ids(value: object, name: str, path: Path, number: int) -> list[str]:
    if not isinstance(value, list):
        raise malformed(path, number, f"a list of passage ids in {name!r}", type(value).__name__)
    return [_identifier(one, f"a passage id in {name!r}", path, number) for one in value]


def _identifier(value: Any, what: str, path: Path, number: int) -> str:  # noqa: ANN401 -- whatever the JSON holds
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise malformed(path, number, f"a string or whole number as {what}", type(value).__name__)
    return str(value)
