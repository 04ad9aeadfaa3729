"""Guards against negatives that are right answers after all."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

_SHORTEST_PART: Final = 20
"""A shorter positive may stand in another text by chance; it hides only texts that equal it."""


class KnownPositives:
    """What is known to answer a query, and so what cannot be a negative of it.

    Texts are compared without regard to case, spaces and the form of accents.

    :param texts: The positives of one query.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = {_folded(text) for text in texts}
        self._parts = [text for text in self._texts if len(text) >= _SHORTEST_PART]

    def hide(self, passage: str) -> bool:
        """Tell whether a passage equals or contains one of the positives."""
        text = _folded(passage)
        return text in self._texts or any(part in text for part in self._parts)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
