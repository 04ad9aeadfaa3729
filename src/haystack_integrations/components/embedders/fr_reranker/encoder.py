"""The bi-encoder behind an embedder: loaded once, at the first use, and used by one call at a time."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from fr_reranker_plugin.retrieval.encoder_identity import EncoderIdentity
from fr_reranker_plugin.retrieval.text_encoder import TextEncoder
from fr_reranker_plugin.retrieval.vectors import Vectors
from fr_reranker_plugin.scoring.settings import ModelSettings

_Result = TypeVar("_Result")

_threads: Final = ThreadPoolExecutor(max_workers=4, thread_name_prefix="fr-reranker-encoder")
"""Of their own, so that encoding neither waits for asyncio's default ones nor fills them."""


class LoadedEncoder:
    """A handle on a bi-encoder, which is loaded at the first use and again after `close`.

    :param model: Which bi-encoder, and how it is loaded.
    :param query_prefix: Stands before each query. `None` takes what the model was trained with.
    :param passage_prefix: Stands before each passage. `None`: the same.
    """

    def __init__(
        self, model: ModelSettings, *, query_prefix: str | None = None, passage_prefix: str | None = None
    ) -> None:
        self.model = model
        self.query_prefix, self.passage_prefix = query_prefix, passage_prefix
        self._encoder: TextEncoder | None = None
        self._loading = threading.Lock()

    def warm_up(self) -> None:
        """Load the model unless it is loaded."""
        self._loaded()

    async def awarm_up(self) -> None:
        """Load the model without blocking the event loop."""
        await _in_thread(self._loaded)

    def close(self) -> None:
        """Let go of the model."""
        with self._loading:
            self._encoder = None

    @property
    def identity(self) -> EncoderIdentity:
        """What makes vectors of this encoder comparable; loads the model."""
        encoder = self._loaded()
        return EncoderIdentity(
            model=self.model.model,
            revision=self.model.pinned_revision,
            max_length=encoder.max_length,
            query_prefix=encoder.prefixes.query,
            passage_prefix=encoder.prefixes.passage,
            dimension=encoder.dimension,
        )

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Give the unit vectors of questions, each after the query prefix: shape (n, dimension)."""
        return self._loaded().encode_queries(texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Give the unit vectors of passages, each after the passage prefix: shape (n, dimension)."""
        return self._loaded().encode_passages(texts)

    async def aencode_queries(self, texts: Sequence[str]) -> Vectors:
        """Encode questions without blocking the event loop."""
        return await _in_thread(lambda: self.encode_queries(texts))

    async def aencode_passages(self, texts: Sequence[str]) -> Vectors:
        """Encode passages without blocking the event loop."""
        return await _in_thread(lambda: self.encode_passages(texts))

    def _loaded(self) -> TextEncoder:
        with self._loading:
            if self._encoder is None:
                self._encoder = TextEncoder.load(
                    self.model, query_prefix=self.query_prefix, passage_prefix=self.passage_prefix
                )
            return self._encoder


async def _in_thread(call: Callable[[], _Result]) -> _Result:
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_threads, context.run, call)
