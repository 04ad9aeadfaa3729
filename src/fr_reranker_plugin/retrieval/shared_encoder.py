"""One live bi-encoder per model and process, whoever asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Self

from fr_reranker_plugin.retrieval.batching_encoder import BatchingEncoder
from fr_reranker_plugin.retrieval.encoder_files import Prefixes
from fr_reranker_plugin.retrieval.encoder_identity import EncoderIdentity
from fr_reranker_plugin.retrieval.text_encoder import check_texts, prefixed
from fr_reranker_plugin.retrieval.vectors import Vectors
from fr_reranker_plugin.scoring.registry import REGISTRY
from fr_reranker_plugin.scoring.settings import EMBEDDED, BatchSettings, ModelSettings, Priority
from fr_reranker_plugin.scoring.shared_model import SharedModel


def live_encoders() -> int:
    """How many bi-encoders this process holds in memory through `SharedEncoder`."""
    return REGISTRY.count(BatchingEncoder)


class SharedEncoder(SharedModel[BatchingEncoder]):
    """A handle on the live bi-encoder of a model; cheap to make, to copy and to pickle.

    The model is loaded at the first use and shared by every handle with the same settings, whatever their prefixes. A
    copy starts cold and joins the same live model when it is used; it does not carry the token. Using a closed handle
    opens it again. Questions go before passages, which get what is left of a batch and at least a tenth of the work.

    :param model: Which bi-encoder; `None` is the embedded one.
    :param batch: Bounds of batch and queue. The first handle of a model decides; a later difference is logged.
    :param query_prefix: Stands before each query. `None` takes what the model was trained with.
    :param passage_prefix: Stands before each passage. `None`: the same.
    """

    _kind = BatchingEncoder

    def __init__(
        self,
        model: ModelSettings | None = None,
        batch: BatchSettings | None = None,
        *,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
    ) -> None:
        super().__init__(model or ModelSettings(model=EMBEDDED), batch)
        self.query_prefix, self.passage_prefix = query_prefix, passage_prefix

    @classmethod
    def of(cls, identity: EncoderIdentity, *, device: str | None = None, local_files_only: bool = False) -> Self:
        """Give the encoder that made vectors, by what an index says of it; loads the model.

        :param device: See `ModelSettings`, as for `local_files_only`.
        :raises ModelLoadError: If it cannot be loaded.
        """
        make = partial(cls, query_prefix=identity.query_prefix, passage_prefix=identity.passage_prefix)
        model = ModelSettings(
            model=identity.model, revision=identity.revision, device=device, local_files_only=local_files_only
        )
        encoder = make(model)
        if encoder.max_length == identity.max_length:
            return encoder  # with its usual length it is more likely that others use it, too
        encoder.close()
        return make(replace(model, max_length=identity.max_length))

    @staticmethod
    def _load(model: ModelSettings, batch: BatchSettings) -> BatchingEncoder:
        from fr_reranker_plugin.retrieval.encoder_engine import EncoderEngine
        from fr_reranker_plugin.scoring.engines import load_on_each_device

        return BatchingEncoder(load_on_each_device(model, EncoderEngine.load), batch)

    @property
    def identity(self) -> EncoderIdentity:
        """What makes vectors of this encoder comparable; loads the model."""
        return self._identity_in(self._live())

    @property
    def prefixes(self) -> Prefixes:
        """What stands before a query and before a passage; loads the model."""
        return self.identity.prefixes

    @property
    def dimension(self) -> int:
        """Length of a vector; loads the model."""
        return self.identity.dimension

    @property
    def max_length(self) -> int:
        """The longest text in tokens, prefix included; longer ones are cut. Loads the model."""
        return self.identity.max_length

    def encode_queries(
        self, texts: Iterable[str], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> Vectors:
        """Encode questions, each after the query prefix; see `BatchingEncoder.encode`."""
        live = self._live()
        return live.encode(prefixed(self._identity_in(live).query_prefix, texts), timeout=timeout, priority=priority)

    def encode_passages(
        self, texts: Iterable[str], *, timeout: float | None = None, priority: Priority = "bulk"
    ) -> Vectors:
        """Encode passages, each after the passage prefix; see `BatchingEncoder.encode`."""
        live = self._live()
        return live.encode(prefixed(self._identity_in(live).passage_prefix, texts), timeout=timeout, priority=priority)

    def encode(
        self, texts: Iterable[str], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> Vectors:
        """Encode texts as they stand; see `BatchingEncoder.encode`."""
        texts = check_texts(texts)
        return self._live().encode(texts, timeout=timeout, priority=priority)

    async def aencode_queries(
        self, texts: Iterable[str], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> Vectors:
        """Encode questions without blocking the event loop."""
        live = await self._alive()
        asked = prefixed(self._identity_in(live).query_prefix, texts)
        return await live.aencode(asked, timeout=timeout, priority=priority)

    async def aencode_passages(
        self, texts: Iterable[str], *, timeout: float | None = None, priority: Priority = "bulk"
    ) -> Vectors:
        """Encode passages without blocking the event loop."""
        live = await self._alive()
        asked = prefixed(self._identity_in(live).passage_prefix, texts)
        return await live.aencode(asked, timeout=timeout, priority=priority)

    async def aencode(
        self, texts: Iterable[str], *, timeout: float | None = None, priority: Priority = "interactive"
    ) -> Vectors:
        """Encode texts as they stand without blocking the event loop."""
        texts = check_texts(texts)
        return await (await self._alive()).aencode(texts, timeout=timeout, priority=priority)

    def _identity_in(self, live: BatchingEncoder) -> EncoderIdentity:
        own = live.identity
        return own.with_prefixes(own.prefixes.replaced_by(self.query_prefix, self.passage_prefix))

    def __reduce__(self) -> tuple[Callable[..., SharedEncoder], tuple[ModelSettings, BatchSettings]]:
        make = partial(SharedEncoder, query_prefix=self.query_prefix, passage_prefix=self.passage_prefix)
        return make, (replace(self.model, token=None), self.batch)
