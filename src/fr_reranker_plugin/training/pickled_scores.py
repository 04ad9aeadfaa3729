"""Reading a pickled dictionary of scores without unpickling it.

A pickle is a program that may do anything, and Python's own reader holds the whole result: about 25 GB for 160 million
scores. This reader knows the few instructions that dictionaries, whole numbers and floats consist of, refuses all
others, and gives the scores of one query after another.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from fr_reranker_plugin.errors import CollectionError

SCORE: Final = np.dtype([("passage", "<i4"), ("score", "<f4")])
Scores = npt.NDArray[np.void]
"""Of dtype `SCORE`: what a teacher says of passages, ascending by passage."""

_PAIR: Final = np.dtype([("a", "S1"), ("passage", "<i4"), ("b", "S1"), ("score", ">f8")])
_PAIRS: Final = re.compile(rb"(?:J.{4}G.{8})+", re.DOTALL)
"""BININT and BINFLOAT in turns: nearly all of the file, read many at once."""

_STOP, _MARK, _DICT, _SET_ONE, _SET_MANY = b".", b"(", b"}", b"s", b"u"
_NUMBERS: Final = {b"J": "<i", b"K": "<B", b"M": "<H", b"G": ">d"}
_LONG: Final = b"\x8a"
_IGNORED: Final = {b"\x80": 1, b"\x95": 8, b"q": 1, b"r": 4, b"\x94": 0}
"""Instructions that matter to other pickles (PROTO, FRAME, three kinds of remembering), with bytes that follow."""

_BLOCK: Final = 1 << 20
_LONGEST: Final = 300
"""More bytes than any instruction here has."""


class ScoresPickle:
    """The scores of a pickled `{query: {passage: score}}`, protocol 2 or later; ids are whole numbers below 2^31.

    Iterate once; no more than a thousand queries are in memory.

    :param stream: The pickle, unpacked.
    :param name: What errors call it.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._bytes, self._place = b"", 0
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._found: list[tuple[int, Scores]] = []
        self._do: dict[bytes, Callable[[], None]] = {
            _MARK: lambda: self._marks.append(len(self._stack)),
            _DICT: lambda: self._stack.append([]),
            _SET_ONE: self._set_one,
            _SET_MANY: self._set_many,
            _LONG: self._push_long,
        }

    def __iter__(self) -> Iterator[tuple[int, Scores]]:
        """Yield each query with its scores.

        :raises CollectionError: If the pickle holds anything else, or ends too early.
        """
        while (code := self._next()) != _STOP:
            if size := _NUMBERS.get(code):
                self._stack.append(struct.unpack(size, self._take(struct.calcsize(size)))[0])
            elif code in _IGNORED:
                self._take(_IGNORED[code])
            elif code in self._do:
                self._do[code]()
            else:
                raise self._wrong(f"the instruction {code!r}")
            yield from self._found
            self._found.clear()
        if len(self._stack) != 1 or not isinstance(self._stack[0], list):
            raise self._wrong("something else")

    def _next(self) -> bytes:
        """Take whole pairs as long as there are some, then the code of an instruction."""
        while True:
            if len(self._bytes) - self._place < _LONGEST:
                self._bytes = self._bytes[self._place :] + self._stream.read(_BLOCK)
                self._place = 0
            pairs = _PAIRS.match(self._bytes, self._place)
            if pairs is None:
                return self._take(1)
            self._stack.append(np.frombuffer(pairs[0], dtype=_PAIR))
            self._place = pairs.end()

    def _take(self, count: int) -> bytes:
        taken = self._bytes[self._place : self._place + count]
        self._place += count
        if len(taken) < count:
            raise self._wrong("its end in the middle")
        return taken

    def _push_long(self) -> None:
        self._stack.append(int.from_bytes(self._take(self._take(1)[0]), "little", signed=True))

    def _set_one(self) -> None:
        last = self._stack[-1:]
        count = 1 if last and isinstance(last[0], np.ndarray) and len(last[0]) == 1 else 2
        self._set(len(self._stack) - count)

    def _set_many(self) -> None:
        if not self._marks:
            raise self._wrong("items of nothing")
        self._set(self._marks.pop())

    def _set(self, start: int) -> None:
        """Put what lies on the stack from `start` on into the dictionary before it."""
        target = self._stack[start - 1] if 1 <= start <= len(self._stack) else None
        items = self._stack[start:]
        del self._stack[start:]
        if not isinstance(target, list):
            raise self._wrong("items of nothing")
        if start == 1:
            self._found.extend(self._queries(items))
        else:
            target.extend(self._passages(items))

    def _queries(self, items: list[object]) -> Iterator[tuple[int, Scores]]:
        for query, parts in zip(items[::2], items[1::2], strict=False):
            if not isinstance(query, int) or not isinstance(parts, list):
                raise self._wrong(f"{type(query).__name__} and {type(parts).__name__} in the outer dictionary")
            scores = np.concatenate([np.empty(0, SCORE), *parts])
            yield query, scores[np.argsort(scores["passage"], kind="stable")]
        if len(items) % 2:
            raise self._wrong("scores without a query")

    def _passages(self, items: list[object]) -> Iterator[Scores]:
        rest = iter(items)
        for item in rest:
            if isinstance(item, np.ndarray):
                pairs = np.empty(len(item), SCORE)
                pairs["passage"], pairs["score"] = item["passage"], item["score"]
                yield pairs
                continue
            score = next(rest, None)
            if not isinstance(item, int) or not isinstance(score, (int, float)) or abs(item) >= 2**31:
                raise self._wrong(f"{type(item).__name__} and {type(score).__name__} in an inner dictionary")
            yield np.array([(item, score)], dtype=SCORE)

    def _wrong(self, found: str) -> CollectionError:
        expected = "a pickled {query: {passage: score}} of whole numbers and floats, protocol 2 or later"
        return CollectionError(f"{self._name}: expected {expected}, found {found}")
