"""Encode more texts than fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, Literal, Protocol, TypeVar, get_args

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.retrieval.encoder_identity import EncoderIdentity
from fr_reranker_plugin.retrieval.vectors import Vectors
from fr_reranker_plugin.scoring.settings import check_whole_number

Role = Literal["passage", "query"]
"""Whose prefix stands before a text."""

TEXTS_AT_ONCE: Final = 2048
"""Enough for batches of like lengths; the vectors of so many texts take a few megabytes."""

Thing = TypeVar("Thing")


class Encoder(Protocol):
    """A `TextEncoder` or a `SharedEncoder`."""

    @property
    def identity(self) -> EncoderIdentity:
        """What makes its vectors comparable."""

    def encode_queries(self, texts: Sequence[str], /) -> Vectors:
        """Encode questions."""

    def encode_passages(self, texts: Sequence[str], /) -> Vectors:
        """Encode passages."""


def encode_stream(
    encoder: Encoder,
    texts: Iterable[str],
    *,
    role: Role = "passage",
    texts_at_once: int = TEXTS_AT_ONCE,
    on_progress: Callable[[int], object] | None = None,
) -> Iterator[Vectors]:
    """Yield the unit vectors of `texts` in order, in blocks of float32 of shape (`texts_at_once` or fewer, dimension).

    Only one block of texts is held at a time, and the next one is read when its vectors are asked for.

    :param texts: Any number of texts, read once.
    :param role: Whether they get the prefix of passages or of queries.
    :param texts_at_once: Texts that are sorted by length and encoded together.
    :param on_progress: Called after each block with the number of texts that are done.
    :raises SettingsError: If a text is not a string, or a setting is not allowed.
    :raises ScoringError: If the model fails on a text.
    """
    if isinstance(texts, str):
        raise SettingsError("expected texts, got one string; put it into a list")
    if role not in get_args(Role):
        raise SettingsError(f"role must be one of {', '.join(map(repr, get_args(Role)))}, got {role!r}")
    check_whole_number("texts_at_once", texts_at_once)
    encode = encoder.encode_passages if role == "passage" else encoder.encode_queries
    return _blocks(encode, texts, texts_at_once, on_progress)


def in_blocks(things: Iterable[Thing], size: int) -> Iterator[list[Thing]]:
    """Yield consecutive lists of `size` things; the last may be shorter."""
    rest = iter(things)
    while block := list(islice(rest, size)):
        yield block


def _blocks(
    encode: Callable[[Sequence[str]], Vectors],
    texts: Iterable[str],
    size: int,
    on_progress: Callable[[int], object] | None,
) -> Iterator[Vectors]:
    done = 0
    for block in in_blocks(texts, size):
        yield encode(block)
        done += len(block)
        if on_progress is not None:
            on_progress(done)
