"""What a teacher says of millions of (query, passage) pairs, by their ids, without holding it."""

from __future__ import annotations

import gzip
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, Final, Self, cast

import numpy as np

from fr_reranker_plugin.collections.lines import whole_gzip
from fr_reranker_plugin.errors import CollectionError
from fr_reranker_plugin.evaluation.progress import ShowProgress
from fr_reranker_plugin.training.pickled_scores import SCORE, ScoresPickle

_QUERIES_BETWEEN_MOVES: Final = 1000


class TeacherScores:
    """The scores of a pickle, put once into a temporary file of 8 bytes a score, from which each query's are read.

    160 million scores take 1.3 GB of disk for as long as this is open, and a few megabytes of memory.

    :param path: A pickled `{query: {passage: score}}`, packed if its name ends in `.gz`; see `ScoresPickle`.
    :param folder: Where the temporary file goes.
    :param show: Shows the progress of reading, in queries.
    :raises CollectionError: If the file is missing or holds anything else.
    """

    def __init__(self, path: Path, folder: Path, show: ShowProgress) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder, prefix=".teacher-scores-")  # noqa: SIM115 -- `close`
        try:
            self._fill(path, show)
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        return len(self._queries)

    def of(self, query: int) -> dict[int, float]:
        """Give the score of each passage that the teacher read for a query; empty if it read none."""
        place = int(np.searchsorted(self._queries, query, side="right")) - 1
        if place < 0 or self._queries[place] != query:
            return {}
        self._file.seek(int(self._starts[place]) * SCORE.itemsize)
        read = self._file.read(int(self._counts[place]) * SCORE.itemsize)
        scores = np.frombuffer(read, dtype=SCORE)
        return dict(zip(scores["passage"].tolist(), scores["score"].tolist(), strict=True))

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _fill(self, path: Path, show: ShowProgress) -> None:
        queries, counts = array("q"), array("q")
        with _opened(path) as stream, show(f"reading {path.name}", None) as advance:
            for query, scores in ScoresPickle(stream, str(path)):
                queries.append(query)
                counts.append(len(scores))
                self._file.write(scores.tobytes())
                if len(queries) % _QUERIES_BETWEEN_MOVES == 0:
                    advance(_QUERIES_BETWEEN_MOVES)
        order = np.argsort(np.frombuffer(queries, dtype=np.int64), kind="stable")
        sizes = np.frombuffer(counts, dtype=np.int64)
        self._queries = np.frombuffer(queries, dtype=np.int64)[order]
        self._starts, self._counts = (np.cumsum(sizes) - sizes)[order], sizes[order]


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, unpacked if it is packed, with our errors for what may be wrong with it."""
    try:
        with whole_gzip(path), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield cast("BinaryIO", stream)
    except FileNotFoundError:
        raise CollectionError(f"there is no file {path}") from None
