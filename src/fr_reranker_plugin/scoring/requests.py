"""What waits: the distinct items (pairs, or texts), and the requests that asked for them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Final

from fr_reranker_plugin.scoring.scorer import Answers, EncodedPair, Item
from fr_reranker_plugin.scoring.settings import Priority
from fr_reranker_plugin.scoring.work import as_key


class Slot:
    """One distinct item: the unit that is batched, computed once, and answered to everyone who asked for it.

    It may wait in several requests at the same time; the most urgent of them takes it into a batch.

    :param item: The pair, or the text.
    :param encoded: The same as the model reads it.
    """

    __slots__ = ("askers", "encoded", "item", "length", "taken", "wanted")

    def __init__(self, item: Item, encoded: EncodedPair) -> None:
        self.item: Final = item
        self.encoded: Final = encoded
        self.length: Final = len(encoded.token_ids) or 1
        self.askers: list[tuple[Request, int]] = []
        self.wanted = 0
        self.taken = False

    def ask(self, request: Request, position: int) -> None:
        """Note that `request` wants the answer for its item at `position`."""
        self.askers.append((request, position))
        self.wanted += 1

    def take(self) -> None:
        """Leave the queue, of every request that asked."""
        self.taken = True
        for request, _ in self.askers:
            if request.waiting:  # else it has left
                request.note_taken(self.length)


class Line:
    """The requests of one priority that wait, and how much that is."""

    __slots__ = ("pairs", "requests", "tokens")

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.pairs = self.tokens = 0

    def add(self, request: Request) -> None:
        """Let a request in."""
        request.line = self
        self.requests.append(request)
        self.pairs += request.waiting
        self.tokens += request.waiting_tokens


class Request:
    """The items of one caller, pairs or texts, and the promise of their answers.

    :param items: What is asked. An item that stands there twice is computed once.
    :param encoded: The same items as the model reads them.
    :param priority: Whether someone waits for it.
    :param deadline: When the answer is of no use any more, on the monotonic clock, in seconds.
    :param first_position: Where `items` begin in what the caller asked, for error messages.
    """

    def __init__(
        self,
        items: Sequence[Item],
        encoded: Sequence[EncodedPair],
        *,
        priority: Priority = "interactive",
        deadline: float = math.inf,
        first_position: int = 0,
    ) -> None:
        self.future: Future[Answers[Any]] = Future()
        self.priority: Final = priority
        self.deadline: Final = deadline
        self.line = Line()
        self.entered_at = 0.0
        self._first_position = first_position
        self._truncated = [position for position, item in enumerate(encoded) if item.truncated]
        self._tokens = sum(len(item.token_ids) for item in encoded)
        self._answers: list[Any] = [None] * len(encoded)
        self._repeats: list[tuple[int, int]] = []
        self._slots = self._distinct(items, encoded)
        self._slots.sort(key=_length)
        self._lengths = [slot.length for slot in self._slots]
        self._unanswered = self.waiting = len(self._slots)
        self.waiting_tokens = self.urgency = sum(self._lengths)

    def _distinct(self, items: Sequence[Item], encoded: Sequence[EncodedPair]) -> list[Slot]:
        first: dict[Item, int] = {}
        slots: list[Slot] = []
        for position, item in enumerate(map(as_key, items)):
            known = first.setdefault(item, position)
            if known != position:
                self._repeats.append((position, known))
                continue
            slots.append(Slot(item, encoded[position]))
            slots[-1].ask(self, position)
        return slots

    @property
    def repeats(self) -> int:
        """How many of the pairs stand in the request before."""
        return len(self._repeats)

    def join(self, known: dict[Item, Slot]) -> int:
        """Wait for the pairs that are already waiting or being scored together with those who asked before.

        :param known: Every slot that is waiting or being scored; the new ones are added.
        :returns: How many pairs were known.
        """
        joined = 0
        for place, own in enumerate(self._slots):
            slot = known.setdefault(own.item, own)
            if slot is own:
                continue
            joined += 1
            self._slots[place] = slot
            slot.ask(self, own.askers[0][1])
            if slot.taken:
                self.waiting -= 1
                self.waiting_tokens -= slot.length
                self.urgency -= slot.length
        return joined

    def take(self, at_most: int, at_least: int = 1) -> Slot | None:
        """Take the longest pair that waits and has `at_least` to `at_most` tokens, or none."""
        while (place := bisect_right(self._lengths, at_most) - 1) >= 0 and self._lengths[place] >= at_least:
            del self._lengths[place]
            slot = self._slots.pop(place)
            if not slot.taken:
                slot.take()
                return slot
        return None

    def longest(self) -> int:
        """Length of the longest pair that waits, in tokens; one must wait."""
        while self._slots[-1].taken:
            self._slots.pop()
            self._lengths.pop()
        return self._lengths[-1]

    def note_taken(self, length: int) -> None:
        """One pair less waits."""
        self.waiting -= 1
        self.waiting_tokens -= length
        self.urgency -= length
        self.line.pairs -= 1
        self.line.tokens -= length

    def leave(self) -> list[Slot]:
        """Let go of everything that waits; gives the slots that nobody else waits for."""
        self.line.pairs -= self.waiting
        self.line.tokens -= self.waiting_tokens
        self.waiting = self.waiting_tokens = 0
        waiting = [slot for slot in self._slots if not slot.taken]
        self._slots, self._lengths = [], []
        for slot in waiting:
            slot.wanted -= 1
        return [slot for slot in waiting if not slot.wanted]

    def is_wanted(self) -> bool:
        """Whether the caller still waits: neither answered nor cancelled."""
        return not self.future.done()

    def note(self, position: int, answer: Any) -> bool:  # noqa: ANN401 -- what the model says of an item
        """Note one answer; true with the last one."""
        self._answers[position] = answer
        self._unanswered -= 1
        return not self._unanswered

    def answer(self) -> None:
        """Answer the caller; every item's answer has been noted."""
        for position, first in self._repeats:
            self._answers[position] = self._answers[first]
        with suppress(InvalidStateError):  # the caller may cancel at this very moment
            self.future.set_result(Answers(self._answers, truncated=self._truncated, tokens=self._tokens))

    def fail(self, error: BaseException) -> None:
        """Answer the caller with an error, unless there is an answer already."""
        with suppress(InvalidStateError):  # another batch of this request may have failed before
            self.future.set_exception(error)

    def place_of(self, position: int) -> int:
        """Where the caller's list has the pair that is at `position` here."""
        return self._first_position + position


def _length(slot: Slot) -> int:
    return slot.length
