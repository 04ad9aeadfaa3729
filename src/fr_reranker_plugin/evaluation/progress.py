"""How an evaluation tells whoever started it that something long goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class ShowProgress(Protocol):
    """Shows one long thing; what it gives is called with the number of steps that were done since the last call."""

    def __call__(self, label: str, total: int | None) -> AbstractContextManager[Callable[[int], object]]:
        """Begin; `total` is `None` where nobody knows it."""


@contextmanager
def show_nothing(label: str, total: int | None) -> Iterator[Callable[[int], object]]:  # noqa: ARG001 -- the protocol's
    """Show no progress."""
    yield lambda _: None
