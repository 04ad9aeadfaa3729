"""The bi-encoder of the first stage: texts to unit vectors."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

import numpy as np

from fr_reranker_plugin.errors import ScoringError, SettingsError
from fr_reranker_plugin.retrieval.encoder_engine import EncoderEngine
from fr_reranker_plugin.retrieval.encoder_files import Prefixes
from fr_reranker_plugin.retrieval.encoder_identity import EncoderIdentity
from fr_reranker_plugin.retrieval.vectors import Vectors
from fr_reranker_plugin.scoring.settings import EMBEDDED, BatchSettings, ModelSettings


class TextEncoder:
    """A loaded bi-encoder: reads each text alone and gives one unit vector, so that an inner product is a cosine.

    Safe to use from any number of threads; one forward pass runs at a time. `SharedEncoder` batches across callers.

    :param engine: The loaded model.
    :param prefixes: What stands before a query and before a passage; `None`: what the model was trained with.
    :param max_batch_tokens: Tokens computed in one forward pass; `None`: by device.
    """

    def __init__(
        self, engine: EncoderEngine, *, prefixes: Prefixes | None = None, max_batch_tokens: int | None = None
    ) -> None:
        self._engine = engine
        batch = BatchSettings(max_batch_tokens=max_batch_tokens).for_device(engine.device)
        self._max_batch_tokens = batch.max_batch_tokens or 1
        self._one_at_a_time = threading.Lock()
        self.prefixes = prefixes or engine.identity.prefixes

    @classmethod
    def load(
        cls,
        settings: ModelSettings | None = None,
        *,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        max_batch_tokens: int | None = None,
    ) -> Self:
        """Load the bi-encoder that `settings` names: a sentence-transformers folder or a plain encoder.

        :param settings: Which checkpoint, and how. `None` is the embedded one.
        :param query_prefix: Stands before each query. `None` takes what the model was trained with: its own prompts,
            or `"query: "` for an E5 model.
        :param passage_prefix: Stands before each passage. `None`: the same, `"passage: "` for an E5 model.
        :param max_batch_tokens: Tokens computed in one forward pass; `None`: by device.
        :raises ModelLoadError: If it cannot be found, lacks weights, pools in a way that is not supported, or loses too
            much in 8 bits.
        :raises SettingsError: If the device, dtype, backend or length cannot be used here.
        """
        engine = EncoderEngine.load(settings or ModelSettings(model=EMBEDDED))
        prefixes = engine.identity.prefixes.replaced_by(query_prefix, passage_prefix)
        return cls(engine, prefixes=prefixes, max_batch_tokens=max_batch_tokens)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._engine.identity.dimension

    @property
    def max_length(self) -> int:
        """The longest text in tokens, prefix included; longer ones are cut."""
        return self._engine.identity.max_length

    @property
    def identity(self) -> EncoderIdentity:
        """What makes vectors of this encoder comparable; an index keeps it."""
        return self._engine.identity.with_prefixes(self.prefixes)

    def encode_queries(self, texts: Iterable[str]) -> Vectors:
        """Encode questions, each after the query prefix; see `encode`."""
        return self.encode(prefixed(self.prefixes.query, texts))

    def encode_passages(self, texts: Iterable[str]) -> Vectors:
        """Encode passages, each after the passage prefix; see `encode`."""
        return self.encode(prefixed(self.prefixes.passage, texts))

    def encode(self, texts: Iterable[str]) -> Vectors:
        """Give the unit vectors of `texts` as they stand, in order: float32, shape (n, dimension).

        :raises SettingsError: If a text is not a string.
        :raises ScoringError: If the model gives a vector that is not finite.
        """
        rows = self._engine.encode(check_texts(texts))
        vectors = np.empty((len(rows), self.dimension), dtype=np.float32)
        lengths = [len(row.token_ids) for row in rows]
        for places in length_sorted_batches(lengths, self._max_batch_tokens, pads=self._engine.pads):
            with self._one_at_a_time:
                vectors[places] = self._engine.launch([rows[place] for place in places])()
        if not np.isfinite(vectors).all():
            broken = int(np.argmin(np.isfinite(vectors).all(axis=1)))
            raise ScoringError(f"the bi-encoder gave a vector that is not finite for text {broken}")
        return vectors


def length_sorted_batches(lengths: Sequence[int], max_batch_tokens: int, *, pads: bool) -> Iterator[list[int]]:
    """Yield positions in batches of like lengths, longest first: little padding, and long runs of equal lengths.

    :param lengths: Tokens of each text.
    :param max_batch_tokens: What a batch may cost; a single longer text still gets a batch of its own.
    :param pads: Whether each text costs as much as the longest of its batch, rather than its own tokens.
    """
    batch: list[int] = []
    cost = longest = 0
    for place in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        longest = lengths[place] if not batch else longest
        cost_of_one = longest if pads else lengths[place]
        if batch and cost + cost_of_one > max_batch_tokens:
            yield batch
            batch, cost, longest = [], 0, lengths[place]
            cost_of_one = lengths[place]
        batch.append(place)
        cost += cost_of_one
    if batch:
        yield batch


def prefixed(prefix: str, texts: Iterable[str]) -> list[str]:
    """Put `prefix` before each text.

    :raises SettingsError: If a text is not a string.
    """
    return [prefix + text for text in check_texts(texts)]


def check_texts(texts: Iterable[str]) -> list[str]:
    """Give texts as a list; a string alone is none.

    :raises SettingsError: If it is a string, or something in it is not.
    """
    if isinstance(texts, str):
        raise SettingsError("expected a list of texts, got one string; put it into a list")
    listed = list(texts)
    for position, text in enumerate(listed):
        if not isinstance(text, str):
            raise SettingsError(f"text {position} must be a string, got {type(text).__name__}")
    return listed
