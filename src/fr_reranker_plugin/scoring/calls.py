"""One call of a batcher: its slices in the queue, and what becomes of them when it ends."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Final, Generic, NamedTuple, Self, TypeVar

from fr_reranker_plugin.errors import DeadlineExceededError
from fr_reranker_plugin.scoring.request_queue import RequestQueue
from fr_reranker_plugin.scoring.requests import Request
from fr_reranker_plugin.scoring.scorer import EncodedPair, Item
from fr_reranker_plugin.scoring.settings import Priority, check_priority

TOKENISED_AT_A_TIME: Final = 32
"""Items that are tokenised in one go: bounds the memory, and the wait of whoever else wants the tokenizer."""


_Asked = TypeVar("_Asked", bound=Item)


class Slice(NamedTuple, Generic[_Asked]):
    """A part of what one caller asks, and where it begins."""

    items: Sequence[_Asked]
    first_position: int


class Call:
    """What one caller has in the queue; on leaving, whatever of it is not answered is withdrawn.

    :param queue: Where its requests go.
    :param items: How many pairs or texts it is about, for the message when it is late.
    :param timeout: Seconds from now until the answer is of no use; `None`: it always is.
    :param priority: Whether someone waits for it.
    :raises DeadlineExceededError: On leaving, in place of any `TimeoutError`.
    :raises SettingsError: If there is no such priority.
    """

    def __init__(self, queue: RequestQueue, *, items: int, timeout: float | None, priority: Priority) -> None:
        self.requests: Final[deque[Request]] = deque()
        self._queue = queue
        self._items = items
        self._timeout = timeout
        self._priority = check_priority(priority)
        self._began_at = monotonic()
        self._deadline = math.inf if timeout is None else self._began_at + timeout

    def add(self, part: Slice[Item], encoded: Sequence[EncodedPair]) -> None:
        """Let a slice into the queue.

        :raises OverloadedError: If there is no room for the first one; the others belong to a request that is in.
        """
        request = Request(
            part.items,
            encoded,
            priority=self._priority,
            deadline=self._deadline,
            first_position=part.first_position,
        )
        self._queue.enter(request, admitted=part.first_position > 0)
        self.requests.append(request)

    def seconds(self) -> float:
        """Seconds since the call began."""
        return monotonic() - self._began_at

    def seconds_left(self) -> float | None:
        """Seconds until the answer is of no use, as many as a thread can wait at most; `None`: it always is."""
        return None if self._timeout is None else min(max(0.0, self._deadline - monotonic()), threading.TIMEOUT_MAX)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        late = isinstance(error, TimeoutError)
        for request in self.requests:
            self._queue.withdraw(request, expired=late)
        if late:
            raise DeadlineExceededError(
                f"no answer within {self._timeout} s for {self._items} {self._queue.work.items}"
            ) from None


def slices(items: Sequence[_Asked], size: int) -> Iterator[Slice[_Asked]]:
    """Cut a request into consecutive parts, one by one.

    Of those that enter the queue, two at a time, only two are so held as tokens.
    """
    for start in range(0, len(items), size):
        yield Slice(items[start : start + size], start)
