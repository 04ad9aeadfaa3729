"""Remember the tokens of texts that come again: a passage is read with many questions, and tokenised once."""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

DEFAULT_CACHED_TOKENS: Final = 4_000_000
"""About 40 MB with their texts: some 40,000 passages of 100 tokens."""

TokenIds = Sequence[int]
Tokenise = Callable[[list[str]], list[Sequence[int]]]


class TokenCache:
    """The token ids of the texts that were asked for last; any number of threads may ask at once.

    :param max_tokens: How many tokens are kept; each takes 4 bytes, and its text about 5 more.
    """

    def __init__(self, max_tokens: int = DEFAULT_CACHED_TOKENS) -> None:
        self._max_tokens = max_tokens
        self._kept: OrderedDict[str, TokenIds] = OrderedDict()
        self._tokens = 0
        self._lock = threading.Lock()
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
                    self._tokens += len(ids)
                self._kept[text] = ids
            while self._tokens > self._max_tokens:
                _, dropped = self._kept.popitem(last=False)
                self._tokens -= len(dropped)
