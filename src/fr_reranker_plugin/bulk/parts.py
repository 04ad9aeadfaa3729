"""The folder that a ranked data set is written to: one part after the other, each there whole or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from fr_reranker_plugin.bulk.data_set import BadRow, Form, Row, arrow
from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.retrieval.durable_files import replace_file
from fr_reranker_plugin.retrieval.folder_lock import FolderLock

_MANIFEST: Final = "ranking.json"
_ERRORS: Final = "errors-*.jsonl"


class Part(NamedTuple):
    """Rows that are scored and written together, and those among them that cannot be read."""

    number: int
    rows: list[Row]
    bad: list[BadRow]


def in_parts(rows: Iterable[Row | BadRow], pairs: int) -> Iterator[Part]:
    """Cut rows into parts of at least so many passages each, except the last one; the same rows give the same parts."""
    part, waiting = Part(0, [], []), 0
    for row in rows:
        if isinstance(row, BadRow):
            part.bad.append(row)
        else:
            part.rows.append(row)
        waiting += 1 if isinstance(row, BadRow) else max(1, len(row.passages))
        if waiting >= pairs:
            yield part
            part, waiting = Part(part.number + 1, [], []), 0
    if part.rows or part.bad:
        yield part


class PartFolder(FolderLock):
    """The parts that are done. One process at a time writes them.

    :param folder: Made if there is none.
    :param form: In which form parts are written.
    :param facts: What the rankings depend on.
    :param best_passages: Whether each ranked passage has its best part with it.
    :raises IndexLockedError: If another process writes into the folder.
    :raises SettingsError: If the folder holds rankings that depend on something else, or cannot be written to.
    """

    def __init__(self, folder: Path, form: Form, facts: Mapping[str, Any], *, best_passages: bool = False) -> None:
        self.folder: Final = folder
        self._form: Final = form
        self._best_passages: Final = best_passages
        with self._disk_errors_explained():
            folder.mkdir(parents=True, exist_ok=True)
            super().__init__(folder / "writer.lock")
        try:
            with self._disk_errors_explained():
                self._check(json.loads(json.dumps(facts)))
        except BaseException:
            self.release()
            raise

    def close(self) -> None:
        """Let others write."""
        self.release()

    def has(self, number: int) -> bool:
        """Tell whether a part is done."""
        return self._path(number).is_file()

    def write(self, number: int, rankings: Sequence[Mapping[str, Any]], bad: Sequence[BadRow]) -> None:
        """Keep a part; its bad rows are told first, so that a part that is there has told all of them.

        :raises SettingsError: If the folder cannot be written to any more.
        """
        packed = _lines(rankings) if self._form == "jsonl" else _parquet(rankings, best_passages=self._best_passages)
        with self._disk_errors_explained():
            if bad:
                replace_file(self.folder / f"errors-{number:06}.jsonl", _lines(row._asdict() for row in bad))
            replace_file(self._path(number), packed)

    def bad_rows(self) -> Iterator[BadRow]:
        """Yield the bad rows of all parts."""
        for path in sorted(self.folder.glob(_ERRORS)):
            for line in path.read_text(encoding="utf-8").split("\n"):
                if line:
                    yield BadRow(**json.loads(line))

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06}.{self._form}"

    def _check(self, facts: Mapping[str, Any]) -> None:
        path = self.folder / _MANIFEST
        if not path.is_file():
            replace_file(path, (json.dumps(facts, ensure_ascii=False, indent=1) + "\n").encode())
            return
        known = _json(path)
        if not isinstance(known, dict):
            raise SettingsError(f"{path} was not written by this command; name another folder, or remove it")
        if differing := sorted(name for name in {*known, *facts} if known.get(name) != facts.get(name)):
            raise SettingsError(
                f"{self.folder} holds rankings with another {', another '.join(differing)}; name another folder, or "
                "remove it"
            )

    @contextmanager
    def _disk_errors_explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = "is a file" if isinstance(error, FileExistsError) else f"cannot be written to: {error}"
            raise SettingsError(f"{self.folder} {reason}; name another folder for the rankings") from error


def _json(path: Path) -> Any:  # noqa: ANN401 -- JSON is anything
    """Give what a file says, or `None` if it is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _parquet(rankings: Sequence[Mapping[str, Any]], *, best_passages: bool) -> bytes:
    pyarrow, parquet = arrow()
    passage = {
        "rank": pyarrow.int32(), "index": pyarrow.int32(), "id": pyarrow.string(), "score": pyarrow.float64(),
        "logit": pyarrow.float64(), "truncated": pyarrow.bool_(),
    }  # fmt: skip
    if best_passages:
        place = [(name, pyarrow.int32()) for name in ("start", "end", "windows")]
        passage["best_passage"] = pyarrow.struct([("text", pyarrow.string()), *place])
    schema = pyarrow.schema(
        {
            "file": pyarrow.string(), "row": pyarrow.int64(), "id": pyarrow.string(), "query": pyarrow.string(),
            "ranking": pyarrow.list_(pyarrow.struct(list(passage.items()))),
        }
    )  # fmt: skip
    rows = [
        {**one, "id": _text(one["id"]), "ranking": [{**ranked, "id": _text(ranked["id"])} for ranked in one["ranking"]]}
        for one in rankings
    ]
    written = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), written)
    return written.getvalue()


def _text(identifier: str | int | None) -> str | None:
    return None if identifier is None else str(identifier)
