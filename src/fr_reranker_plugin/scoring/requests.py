"""What waits in the queue, and which of it makes the next batch."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Final, NamedTuple

from fr_reranker_plugin.errors import RerankerError, ScoringError
from fr_reranker_plugin.scoring.ranking import check_finite
from fr_reranker_plugin.scoring.scorer import EncodedPair, Logits, Pair
from fr_reranker_plugin.scoring.settings import BatchSettings

_NEGLIGIBLE_PADDING: Final = 16
"""Tokens of padding that cost less than one more forward pass."""


class Request:
    """The pairs of one caller, and the promise of their logits.

    :param pairs: What was asked, for error messages.
    :param encoded: The same pairs as the model reads them.
    :param arrived_at: Tokens the scorer had computed when the request came in: its place in line.
    """

    def __init__(self, pairs: Sequence[Pair], encoded: Sequence[EncodedPair], *, arrived_at: int = 0) -> None:
        self.future: Future[Logits] = Future()
        self._pairs = pairs
        self._encoded = encoded
        self._arrived_at = arrived_at
        self._waiting = sorted(range(len(encoded)), key=self._length)
        self._waiting_tokens = sum(map(self._length, self._waiting))
        self._logits = [0.0] * len(encoded)
        self._unanswered = len(encoded)

    @property
    def waiting(self) -> int:
        """How many pairs are not in a batch yet."""
        return len(self._waiting)

    @property
    def urgency(self) -> int:
        """Less is sooner: the work left, plus the work done for others before this request came.

        A later request is preferred only while it is shorter by more than the work done since this one arrived, so
        the wait of a long request is bounded by its own length (shortest remaining work first, aged by work).
        """
        return self._arrived_at + self._waiting_tokens

    def is_wanted(self) -> bool:
        """Whether the caller still waits: neither cancelled nor already failed."""
        return not self.future.done()

    def longest_waiting(self, at_most: int | None = None) -> int | None:
        """Length of the longest pair that waits and has at most this many tokens."""
        place = self._place_of_longest(at_most)
        return None if place is None else self._length(self._waiting[place])

    def take_longest(self, at_most: int) -> Slot:
        """Take the longest pair that waits and has at most this many tokens; there must be one."""
        place = self._place_of_longest(at_most)
        if place is None:
            raise LookupError(f"no pair of at most {at_most} tokens waits")
        position = self._waiting.pop(place)
        self._waiting_tokens -= self._length(position)
        return Slot(self, position)

    def deliver(self, position: int, logit: float) -> None:
        """Note one logit; the last one answers the caller."""
        try:
            check_finite(self._pairs[position], logit)
        except ScoringError as error:
            self.fail(error)
            return
        self._logits[position] = logit
        self._unanswered -= 1
        if not self._unanswered:
            truncated = [index for index, pair in enumerate(self._encoded) if pair.truncated]
            with suppress(InvalidStateError):  # the caller may cancel at this very moment
                self.future.set_result(Logits(self._logits, truncated=truncated))

    def fail(self, error: RerankerError) -> None:
        """Answer the caller with an error, unless there is an answer already."""
        with suppress(InvalidStateError):  # another batch of this request may have failed before
            self.future.set_exception(error)

    def blame(self, position: int, cause: Exception) -> None:
        """Fail because of the pair at `position`."""
        query, passage = self._pairs[position]
        error = ScoringError(
            f"the model failed on pair {position} ({query[:60]!r}, {passage[:60]!r}): {type(cause).__name__}: {cause}"
        )
        error.__cause__ = cause
        self.fail(error)

    def encoded(self, position: int) -> EncodedPair:
        """Give the pair at `position` as the model reads it."""
        return self._encoded[position]

    def _length(self, position: int) -> int:
        return len(self._encoded[position].token_ids)

    def _place_of_longest(self, at_most: int | None) -> int | None:
        """Where in `_waiting`, which is sorted by length, the longest allowed pair stands."""
        low, high = 0, len(self._waiting)
        while low < high and at_most is not None:
            middle = (low + high) // 2
            if self._length(self._waiting[middle]) <= at_most:
                low = middle + 1
            else:
                high = middle
        return high - 1 if high else None


class Slot(NamedTuple):
    """One pair of one request: the unit that is batched and answered."""

    request: Request
    position: int

    @property
    def encoded(self) -> EncodedPair:
        """The pair as the model reads it."""
        return self.request.encoded(self.position)

    def deliver(self, logit: float) -> None:
        """Answer with a logit."""
        self.request.deliver(self.position, logit)

    def fail(self, cause: Exception) -> None:
        """Answer with the error that this pair caused."""
        self.request.blame(self.position, cause)


def take_batch(requests: Sequence[Request], settings: BatchSettings) -> list[Slot]:
    """Take the pairs of the next forward pass: the most urgent request first, topped up with like lengths of others.

    The longest pair of the most urgent request sets the scale. Nothing much longer or much shorter joins, so that
    little of the batch is padding, and `max_batch_tokens` holds for the padded batch.
    """
    budget = settings.for_device(None).max_batch_tokens or 1
    by_urgency = sorted((request for request in requests if request.waiting), key=lambda request: request.urgency)
    if not by_urgency:
        return []
    padded = by_urgency[0].longest_waiting() or 1
    shortest, longest = _like_lengths(padded)
    batch: list[Slot] = []
    for request in by_urgency:
        while settings.max_batch_size is None or len(batch) < settings.max_batch_size:
            fitting = budget // (len(batch) + 1)
            if batch and fitting < padded:
                return batch
            length = request.longest_waiting(min(longest, max(fitting, padded)))
            if length is None or length < shortest:
                break
            batch.append(request.take_longest(length))
            padded = max(padded, length)
    return batch


def _like_lengths(length: int) -> tuple[int, int]:
    """Give the shortest and the longest pair, in tokens, that may share a batch with one of `length`."""
    slack = max(_NEGLIGIBLE_PADDING, length // 4)
    return max(1, length - slack), length + slack
