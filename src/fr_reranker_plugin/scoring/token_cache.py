"""Remember the tokens of texts that come again: a passage is read with many questions, and tokenised once."""

from __future__ import annotations

import sys
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

DEFAULT_CACHE_BYTES: Final = 32 * 2**20
"""Some 30,000 passages of 100 tokens, with their texts."""

_ENTRY_BYTES: Final = 100  # what an OrderedDict takes for an entry beside its key and value, by tracemalloc

TokenIds = Sequence[int]
Tokenise = Callable[[list[str]], list[Sequence[int]]]


class TokenCache:
    """The token ids of the texts that were asked for last; any number of threads may ask at once.

    :param max_bytes: How much memory the kept texts and their tokens may take.
    """

    def __init__(self, max_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, TokenIds] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0
        self.hits = self.misses = 0

    def look_up(
        self, texts: Iterable[str], tokenise: Callable[[list[str]], list[Sequence[int]]]
    ) -> Mapping[str, TokenIds]:
        """Give the token ids of `texts`, asking `tokenise` once for those that are not kept.

        :param tokenise: Gives the token ids of each text; it runs without the lock.
        """
        distinct = dict.fromkeys(texts)
        with self._lock:
            found = {text: ids for text in distinct if (ids := self._kept.get(text)) is not None}
            for text in found:
                self._kept.move_to_end(text)
            missing = [text for text in distinct if text not in found]
            self.hits, self.misses = self.hits + len(found), self.misses + len(missing)
        if missing:
            new: dict[str, TokenIds] = {
                text: array("i", ids) for text, ids in zip(missing, tokenise(missing), strict=True)
            }
            self._keep(new)
            found |= new
        return found

    def _keep(self, new: Mapping[str, TokenIds]) -> None:
        with self._lock:
            for text, ids in new.items():
                if text not in self._kept:
                    self.bytes += _size(text, ids)
                self._kept[text] = ids
            while self.bytes > self._max_bytes:
                self.bytes -= _size(*self._kept.popitem(last=False))


def _size(text: str, ids: TokenIds) -> int:
    return sys.getsizeof(text) + sys.getsizeof(ids) + _ENTRY_BYTES
