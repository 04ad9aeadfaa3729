"""BM25 over lists of terms; knows neither French nor documents."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from fr_reranker_plugin.errors import MissingDependencyError, SettingsError

_TERM_ID: Final = "i"
"""The array type of term ids: 4 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BM25Settings:
    """How BM25 weighs terms, and which words it leaves out.

    :param k1: How much a term counts that stands in a text again and again; 0 counts it once.
    :param b: How much a long text is held against it, 0..1.
    :param stop_words: Words to leave out, in any form. `None`: the usual French ones; `()`: none.
    :raises SettingsError: If a value is not allowed.
    """

    k1: float = 1.2
    b: float = 0.75
    stop_words: Collection[str] | None = None

    def __post_init__(self) -> None:
        _check_number("k1", self.k1, most=math.inf)
        _check_number("b", self.b, most=1)
        if self.stop_words is not None:
            object.__setattr__(self, "stop_words", _checked_words(self.stop_words))


class BM25:
    """The BM25 score of every term in every text, computed once.

    A text's score is the sum over the query's terms of `idf * tf / (tf + k1 * (1 - b + b * length / mean length))` with
    `idf = ln(1 + (n - df + 0.5) / (df + 0.5))`: Robertson's formula as Lucene has it (Kamphuis et al. 2020), always
    above 0 for a text with one of the terms. Lengths are in terms. Safe to use from any number of threads.

    :param scores: A built index of bm25s.
    """

    def __init__(self, scores: Any) -> None:  # noqa: ANN401 -- bm25s publishes no types
        self._scores = scores

    def __len__(self) -> int:
        return int(self._scores.scores["num_docs"])

    @classmethod
    def build(cls, texts: Iterable[Sequence[str]], *, k1: float, b: float) -> Self:
        """Count the terms of `texts`, which are read once.

        :raises MissingDependencyError: If bm25s is not installed.
        """
        vocabulary: dict[str, int] = {}
        rows = [array(_TERM_ID, (vocabulary.setdefault(term, len(vocabulary)) for term in terms)) for terms in texts]
        index = load_bm25s().BM25(k1=k1, b=b, method="lucene", backend="numpy")
        if vocabulary:
            index.scores = index.build_index_from_ids(list(vocabulary.values()), rows, show_progress=False)
        else:
            index.scores = _nothing(len(rows))
            index.nonoccurrence_array = None
        index.vocab_dict = vocabulary
        return cls(index)

    def search(
        self, terms: Iterable[str], k: int, *, among: npt.NDArray[np.bool_] | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Give the positions and scores of the best `k` texts with one of the terms; equal scores keep their order.

        A term that the query repeats counts each time.

        :param among: Which texts may be found, shape (texts,).
        """
        vocabulary = self._scores.vocab_dict
        known = sorted(vocabulary[term] for term in terms if term in vocabulary)  # the order of words changes no sum
        if not known:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        scores: npt.NDArray[np.float32] = self._scores.get_scores_from_ids(known, weight_mask=among)
        found = np.flatnonzero(scores > 0)
        if len(found) > k:
            worst_kept = np.partition(scores[found], -k)[-k]
            found = found[scores[found] >= worst_kept]
        found = found[np.argsort(-scores[found], kind="stable")][:k]
        return found, scores[found]

    def save(self, folder: Path) -> None:
        """Write NumPy arrays and JSON into `folder`; nothing is pickled."""
        self._scores.save(folder, show_progress=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        :raises MissingDependencyError: If bm25s is not installed.
        """
        return cls(load_bm25s().BM25.load(folder, allow_pickle=False, show_progress=False, backend="numpy"))


def load_bm25s() -> ModuleType:
    """Import bm25s.

    :raises MissingDependencyError: If it is not installed.
    """
    try:
        import bm25s
    except ImportError as error:
        raise MissingDependencyError("BM25 needs bm25s: pip install 'fr-reranker-plugin[faiss]'") from error
    module: ModuleType = bm25s
    return module


def _nothing(texts: int) -> dict[str, Any]:
    """Give the scores of texts without a single term, which bm25s does not compute."""
    return {
        "data": np.empty(0, np.float32),
        "indices": np.empty(0, np.int32),
        "indptr": np.zeros(1, np.int64),
        "num_docs": texts,
    }


def _check_number(name: str, value: object, *, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most or math.isinf(value):
        limit = "" if math.isinf(most) else f" and at most {most}"
        raise SettingsError(f"{name} must be a number of at least 0{limit}, got {value!r}")


def _checked_words(words: object) -> frozenset[str]:
    if isinstance(words, str) or not isinstance(words, Collection) or not all(isinstance(word, str) for word in words):
        raise SettingsError(f"stop_words must be a collection of words or None, got {words!r:.60}")
    return frozenset(words)
