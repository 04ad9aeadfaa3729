"""Guards against negatives that are right answers after all."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

_SHORTEST_PART: Final = 20
"""Characters. A shorter text may stand in another one by chance; only texts that equal it count as the same."""


class KnownPositives:
    """What is known to answer a query, and so what cannot be a negative of it.

    Texts are compared without regard to case, spaces and the form of accents.

    :param texts: The positives of one query.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = {folded(text) for text in texts}
        self._parts = [text for text in self._texts if len(text) >= _SHORTEST_PART]

    def hide(self, passage: str) -> bool:
        """Tell whether a passage equals or contains one of the positives, or is mostly made of lines that stand in one.

        Lines, because what a document is cut into repeats its heading, and joins paragraphs.
        """
        text = folded(passage)
        if text in self._texts or any(part in text for part in self._parts):
            return True
        lines = [line for line in map(folded, passage.splitlines()) if len(line) >= _SHORTEST_PART]
        known = sum(len(line) for line in lines if any(line in whole for whole in self._parts))
        return 2 * known > len(text)


def folded(text: str) -> str:
    """Give a text without regard to case, spaces and the form of accents: equal ones are the same to a reader."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
