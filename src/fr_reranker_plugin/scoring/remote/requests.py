"""How the pairs of one call become the requests that a server takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fr_reranker_plugin.scoring.remote.dialects import Dialect
from fr_reranker_plugin.scoring.scorer import Logits, Pair
from fr_reranker_plugin.scoring.texts import encodable

_MOST_BYTES: Final = 1_500_000
"""Text in one request; text-embeddings-inference takes bodies of 2 MB, `fr-reranker serve` of 4 MiB."""


@dataclass(frozen=True, slots=True)
class Part:
    """Pairs of one request, and their positions in the call."""

    places: Sequence[int]
    pairs: Sequence[Pair]

    def halves(self) -> tuple[Part, Part]:
        """Cut the part in two."""
        middle = len(self.pairs) // 2
        return Part(self.places[:middle], self.pairs[:middle]), Part(self.places[middle:], self.pairs[middle:])


def parts(pairs: Sequence[Pair], dialect: Dialect, most_texts: int) -> Iterator[Part]:
    """Cut the pairs of one call into requests: of one query where the dialect wants it, of bounded count and size."""
    for group in _groups(pairs, together=dialect.mixes_queries):
        start = size = 0
        for end, place in enumerate(group):
            more = sum(len(text.encode(errors="replace")) for text in pairs[place])
            if end > start and (end - start == most_texts or size + more > _MOST_BYTES):
                yield _part(pairs, group[start:end])
                start, size = end, 0
            size += more
        yield _part(pairs, group[start:])


def encoded(body: dict[str, Any]) -> bytes:
    """Give a body as JSON; half characters become question marks, as where a text is scored in this process."""
    return encodable(json.dumps(body, ensure_ascii=False, separators=(",", ":"))).encode()


def gathered(count: int, answers: Sequence[tuple[Part, Logits]]) -> Logits:
    """Put the numbers of all parts back into the order of the call."""
    numbers = [0.0] * count
    truncated: list[int] = []
    for part, answer in answers:
        for place, number in zip(part.places, answer, strict=True):
            numbers[place] = number
        truncated += [part.places[cut] for cut in answer.truncated]
    return Logits(numbers, truncated=sorted(truncated), tokens=sum(answer.tokens for _, answer in answers))


def _groups(pairs: Sequence[Pair], *, together: bool) -> list[list[int]]:
    if together:
        return [list(range(len(pairs)))]
    by_query: dict[str, list[int]] = {}
    for place, (query, _) in enumerate(pairs):
        by_query.setdefault(query, []).append(place)
    return list(by_query.values())


def _part(pairs: Sequence[Pair], places: Sequence[int]) -> Part:
    return Part(places, [pairs[place] for place in places])
