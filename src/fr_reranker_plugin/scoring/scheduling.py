"""Which pairs make the next batch: plain bookkeeping, without threads and without a clock of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from fr_reranker_plugin.scoring.requests import Line, Request, Slot
from fr_reranker_plugin.scoring.settings import Priority

_PADDING_SHARE: Final = 0.07
"""Most of a padded batch that may be padding, unless it is a negligible number of tokens."""

_NEGLIGIBLE: Final = 64
"""This part of the token budget costs less than one more forward pass."""

_FEW: Final = 8
"""This part of the budget is a small batch, which delays nobody much."""

_BULK_SHARE: Final = 0.1
"""Part of the computed tokens that bulk requests get at least, while any wait."""


class Limits(NamedTuple):
    """What one batch of an engine may hold.

    :param tokens: Tokens that the engine computes, padding included where it pads. A single longer pair is allowed.
    :param pairs: Most pairs; `None`: only the tokens decide.
    :param pads: Whether every pair costs as much as the longest one.
    """

    tokens: int
    pairs: int | None = None
    pads: bool = True


class Waiting(NamedTuple):
    """What waits for a place in a batch: how many pairs, how many tokens."""

    pairs: int
    tokens: int


class Schedule:
    """The requests that wait, by priority, and whose turn it is.

    Interactive requests go before bulk ones, which get what is left of a batch and at least a tenth of all tokens.
    Among the requests of one priority the one with the least work left goes first; it is aged by work: a later request
    is preferred only while it is shorter by more than the tokens computed since the other came. So the wait of a long
    request is bounded by its own length.
    """

    def __init__(self) -> None:
        self._lines: Final[dict[Priority, Line]] = {"interactive": Line(), "bulk": Line()}
        self._taken_tokens = 0
        self._owed_to_bulk = 0.0

    def add(self, request: Request) -> None:
        """Let a request in, behind what waits."""
        request.urgency += self._taken_tokens
        self._lines[request.priority].add(request)

    def waiting(self, priority: Priority) -> Waiting:
        """How much waits of one priority."""
        line = self._lines[priority]
        return Waiting(line.pairs, line.tokens)

    def oldest(self) -> float | None:
        """When the oldest request that waits came in, on the monotonic clock; `None` if none waits."""
        waiting = (request.entered_at for line in self._lines.values() for request in line.requests if request.waiting)
        return min(waiting, default=None)

    def take_expired(self, now: float) -> list[Request]:
        """Give the requests whose deadline has passed and that still wait; they are to be dropped."""
        lines = self._lines.values()
        return [request for line in lines for request in line.requests if request.waiting and request.deadline <= now]

    def take_batch(self, limits: Limits) -> list[Slot]:
        """Take the pairs of the next batch; none if none waits."""
        interactive, bulk = self._lines["interactive"], self._lines["bulk"]
        bulk_waited, bulk_tokens = bulk.pairs > 0, bulk.tokens
        owed = int(self._owed_to_bulk) if self._owed_to_bulk >= limits.tokens // _FEW else 0
        batch = fill_batch(_by_urgency(interactive), _by_urgency(bulk), limits, owed_to_bulk=owed)
        tokens = sum(slot.length for slot in batch)
        self._taken_tokens += tokens
        owed_now = self._owed_to_bulk + _BULK_SHARE * tokens - (bulk_tokens - bulk.tokens)
        # What bulk requests got because there was room is not held against them; what they took in turn is.
        self._owed_to_bulk = (owed_now if owed else max(0.0, owed_now)) if bulk_waited and bulk.pairs else 0.0
        return batch


def fill_batch(
    interactive: Sequence[Request], bulk: Sequence[Request], limits: Limits, *, owed_to_bulk: int = 0
) -> list[Slot]:
    """Take a batch from requests that are in order of urgency: interactive first, topped up with bulk.

    :param owed_to_bulk: Tokens for which the bulk requests go before the interactive ones this time.
    """
    batch = _Batch(limits)
    if owed_to_bulk:
        batch.fill_from(bulk, up_to=min(owed_to_bulk, limits.tokens))
    lead = next(iter(interactive), None)
    if lead is not None:
        batch.fill(lead, limits.tokens)
    up_to = limits.tokens
    if limits.pads and lead is not None:
        # Pairs of unlike lengths need several batches: others must not make the lead wait for a full one each time.
        up_to //= _FEW if lead.waiting else 2
    batch.fill_from(interactive, up_to=up_to)
    batch.fill_from(bulk, up_to=up_to)
    return batch.slots


class _Batch:
    """A batch that is being filled."""

    def __init__(self, limits: Limits) -> None:
        self.slots: list[Slot] = []
        self._limits = limits
        self._most_pairs = limits.pairs or limits.tokens
        self._padding = max(16, limits.tokens // _NEGLIGIBLE)
        self._waste = 0 if limits.pads else limits.tokens // _NEGLIGIBLE
        self._tokens = 0
        self._longest = 0

    def fill_from(self, requests: Iterable[Request], *, up_to: int) -> None:
        """Take from each request in turn until the batch costs `up_to` tokens."""
        for request in requests:
            if self.slots and self._room(up_to) <= self._waste:
                return
            self.fill(request, up_to)

    def fill(self, request: Request, up_to: int) -> None:
        """Take what fits of one request, the longest pairs first."""
        if not request.waiting or len(self.slots) >= self._most_pairs:
            return
        if not self.slots:
            self._add(request, request.longest())
        while len(self.slots) < self._most_pairs and self._add(request, self._room(up_to)):
            pass

    def _room(self, up_to: int) -> int:
        """Most tokens that the next pair may have."""
        if not self._limits.pads:
            return up_to - self._tokens
        pairs = len(self.slots)
        longest_affordable = up_to // (pairs + 1)
        if longest_affordable < self._longest:
            return 0
        little_padding = max(
            (self._tokens + self._padding) // pairs, int(self._tokens / (pairs - _PADDING_SHARE * (pairs + 1)))
        )
        return max(self._longest, min(longest_affordable, little_padding))

    def _add(self, request: Request, at_most: int) -> bool:
        slot = request.take(at_most, self._shortest())
        if slot is None:
            return False
        self.slots.append(slot)
        self._tokens += slot.length
        self._longest = max(self._longest, slot.length)
        return True

    def _shortest(self) -> int:
        """Least tokens that the next pair must have for the batch to stay within its share of padding."""
        if not self._limits.pads or not self.slots:
            return 1
        computed = self._longest * (len(self.slots) + 1)
        return computed - self._tokens - int(max(self._padding, _PADDING_SHARE * computed))


def _by_urgency(line: Line) -> list[Request]:
    line.requests = [request for request in line.requests if request.waiting]
    line.requests.sort(key=attrgetter("urgency"))
    return line.requests
