"""The workloads W1 to W9: which pairs are asked for, in which requests. Seeded, so that every run asks the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np

from benchmarks.texts import FrenchTexts, LengthMix

Pair = tuple[str, str]
Item = TypeVar("Item")
PASSAGES_PER_REQUEST: Final = 20

MMARCO_LIKE: Final = LengthMix()
RAG_CHUNKS: Final = LengthMix(mean=270, sigma=0.15)
LONGEST: Final = 512
_TRUNCATED_SHARE: Final = 0.3
_SEED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much each workload asks for; see `SIZES`.

    :param w1: Pairs of W1; `w2` and `w3` alike.
    :param k20: Requests of 20 passages, one after another.
    :param w4: Requests of 20 passages that the callers of W4 share.
    :param callers: Numbers of concurrent callers of W4; everyone is measured with the last, one of ours with all.
    :param passages: Passages of a request of W4, of which 20 is what the figures are about.
    :param w7: Pairs of W7, for each hit rate.
    :param seconds: Length of one open-loop load of W5 and W6.
    :param w9: Requests of W9; `memory_fails_every` as many batches, memory runs out.
    :param long_bulk: Pairs of the request that a short one arrives behind.
    :param memory: Candidates of the two requests whose peak memory is compared.
    """

    w1: int
    k20: int
    w2: int
    w3: int
    w4: int
    callers: tuple[int, ...]
    w7: int
    seconds: float
    w9: int
    memory_fails_every: int = 100
    passages: tuple[int, ...] = (PASSAGES_PER_REQUEST,)
    long_bulk: int = 1000
    memory: tuple[int, int] = (100, 1000)


SIZES: Final = {
    "quick": Sizes(
        w1=40,
        k20=2,
        w2=8,
        w3=5,
        w4=4,
        callers=(1, 4),
        w7=20,
        seconds=3,
        w9=40,
        memory_fails_every=10,
        long_bulk=200,
        memory=(20, 60),
    ),
    "default": Sizes(w1=80, k20=3, w2=12, w3=8, w4=16, callers=(16,), w7=40, seconds=15, w9=150),
    "full": Sizes(w1=500, k20=25, w2=100, w3=50, w4=48, callers=(1, 4, 16), w7=250, seconds=60, w9=1000),
    "gpu": Sizes(
        w1=10_000, k20=100, w2=2000, w3=1000, w4=1024, callers=(1, 4, 16, 256, 64), w7=5000, seconds=15, w9=4000
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests that are scored one after another, or by several callers.

    :param requests: Each is what one call of `score` gets.
    :param lengths: Tokens of each pair in order, special tokens included, cut to the model's length: the useful tokens.
    """

    name: str
    what: str
    requests: Sequence[Sequence[Pair]]
    lengths: Sequence[int] = field(repr=False)

    @property
    def pairs(self) -> list[Pair]:
        """All pairs, in order."""
        return [pair for request in self.requests for pair in request]

    def facts(self) -> dict[str, Any]:
        """Describe the workload for the result file."""
        return {
            "what": self.what,
            "requests": len(self.requests),
            "pairs": len(self.lengths),
            "tokens": sum(self.lengths),
            "mean_tokens": round(float(np.mean(self.lengths)), 1),
            "p50_tokens": float(np.percentile(self.lengths, 50)),
            "p95_tokens": float(np.percentile(self.lengths, 95)),
        }


class Workloads:
    """Builds the workloads of one run.

    :param texts: Where the texts come from.
    :param sizes: How much of each.
    :param max_length: Tokens at which the model cuts a pair.
    """

    def __init__(self, texts: FrenchTexts, sizes: Sizes, *, max_length: int = LONGEST) -> None:
        self._texts = texts
        self._sizes = sizes
        self._max_length = max_length
        self._random = np.random.default_rng(_SEED)

    def w1(self) -> Workload:
        """Give a bulk job of pairs with the lengths of mMARCO."""
        return self._one_request("W1", "mMARCO-like pairs, one call", self._grouped(MMARCO_LIKE, self._sizes.w1))

    def w2(self) -> Workload:
        """Give a bulk job of RAG chunks."""
        return self._one_request("W2", "RAG chunks of about 270 tokens, one call",
                                 self._grouped(RAG_CHUNKS, self._sizes.w2))  # fmt: skip

    def w3(self) -> Workload:
        """Give a bulk job of pairs that fill the model, of which 30 % are longer."""
        cut = round(_TRUNCATED_SHARE * self._sizes.w3)
        lengths = [int(self._random.integers(600, 900)) for _ in range(cut)]
        lengths += [self._max_length] * (self._sizes.w3 - cut)
        self._random.shuffle(lengths)
        what = f"{self._max_length} tokens, {_TRUNCATED_SHARE:.0%} cut to that, one call"
        return self._one_request("W3", what, self._in_groups(lengths))

    def k20(self, requests: int | None = None, *, name: str = "k20", passages: int = PASSAGES_PER_REQUEST) -> Workload:
        """Give requests of one question and `passages` passages with the lengths of mMARCO."""
        count = self._sizes.k20 if requests is None else requests
        lengths = MMARCO_LIKE.lengths(count * passages, self._random)
        asked = [self._texts.request(part) for part in in_parts(lengths, passages)]
        return self._workload(name, f"requests of {passages} passages, one after another", asked)

    def w7(self, hit_rate: float) -> Workload:
        """Give requests whose passages repeat: a share `hit_rate` (0..1) of them, drawn by Zipf's law, came before."""
        count = self._sizes.w7
        stock = [
            pair[1]
            for pair in self._in_groups(MMARCO_LIKE.lengths(max(1, round(count * (1 - hit_rate))), self._random))
        ]
        ranks = self._random.zipf(1.2, size=count - len(stock))
        passages = [*stock, *(stock[(rank - 1) % len(stock)] for rank in ranks)]
        asked = [
            [(self._texts.question(at_most=60), passage) for passage in part]
            for part in in_parts(passages, PASSAGES_PER_REQUEST)
        ]
        name = f"W7 {hit_rate:.0%}"
        return self._workload(name, f"{hit_rate:.0%} of the passages came before, in other pairs", asked)

    def one(self, pairs: int) -> Workload:
        """Give one request of `pairs` pairs (W8)."""
        return self.k20(1, name=f"W8 {pairs}", passages=pairs)

    def request(self, lengths: Sequence[int]) -> list[Pair]:
        """Give one question with a passage for each length in tokens."""
        return self._texts.request(lengths)

    def bulk(self, pairs: int, *, name: str = "bulk") -> Workload:
        """Give one call of `pairs` mMARCO-like pairs."""
        return self._one_request(name, f"{pairs} mMARCO-like pairs, one call", self._grouped(MMARCO_LIKE, pairs))

    def _grouped(self, mix: LengthMix, count: int) -> list[Pair]:
        return self._in_groups(mix.lengths(count, self._random))

    def _in_groups(self, lengths: Sequence[int]) -> list[Pair]:
        """Make pairs of these lengths, each question with 20 passages."""
        return [pair for part in in_parts(lengths, PASSAGES_PER_REQUEST) for pair in self._texts.request(part)]

    def _one_request(self, name: str, what: str, pairs: Sequence[Pair]) -> Workload:
        return self._workload(name, what, [pairs])

    def _workload(self, name: str, what: str, requests: Sequence[Sequence[Pair]]) -> Workload:
        lengths = self._texts.pair_tokens([pair for request in requests for pair in request])
        return Workload(
            name=name, what=what, requests=requests, lengths=[min(self._max_length, length) for length in lengths]
        )


def in_parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yield consecutive parts of `size` items; the last one may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
