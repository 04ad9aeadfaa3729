"""The shared bi-encoder as LangChain's embeddings."""

from __future__ import annotations

import asyncio
from typing import ClassVar, Final, cast

from langchain_core.embeddings import Embeddings
from pydantic import Field

from fr_reranker_plugin.langchain.model_fields import ModelFields
from fr_reranker_plugin.retrieval.encoder_identity import EncoderIdentity
from fr_reranker_plugin.retrieval.shared_encoder import SharedEncoder
from fr_reranker_plugin.scoring.settings import EMBEDDED

_LISTED_AT_ONCE: Final = 512
"""Making lists of so many vectors holds up an event loop for a few milliseconds."""


class FrenchEmbeddings(ModelFields, Embeddings):
    """Turns texts into unit vectors, each after the prefix that the model expects before a question or a passage.

    The fields that choose the model are those of `ModelFields`; the small bi-encoder inside this package is the
    default. Questions are encoded before passages where both wait for the same model.

    :param query_prefix: Stands before each question. `None`: what the model was trained with, such as `"query: "`.
    :param passage_prefix: Stands before each passage. `None`: the same, such as `"passage: "`.
    """

    model_name: str = Field(default=EMBEDDED, alias="model")
    query_prefix: str | None = None
    passage_prefix: str | None = None

    further_model_fields: ClassVar[frozenset[str]] = frozenset({"query_prefix", "passage_prefix"})

    @property
    def identity(self) -> EncoderIdentity:
        """What the vectors mean, as an index keeps it; loads the model."""
        return self._encoder.identity

    def embed_query(self, text: str) -> list[float]:
        """Give the unit vector of a question.

        :raises SettingsError: If it is not a string.
        :raises RerankerError: If the model cannot be loaded or fails.
        """
        vector: list[float] = self._encoder.encode_queries([text])[0].tolist()
        return vector

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Give the unit vectors of passages, in order.

        :raises SettingsError: If one is not a string.
        :raises RerankerError: If the model cannot be loaded or fails.
        """
        vectors: list[list[float]] = self._encoder.encode_passages(texts).tolist()
        return vectors

    async def aembed_query(self, text: str) -> list[float]:
        """Give the unit vector of a question without blocking the event loop; see `embed_query`."""
        vector: list[float] = (await self._encoder.aencode_queries([text]))[0].tolist()
        return vector

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Give the unit vectors of passages without blocking the event loop; see `embed_documents`."""
        vectors = await self._encoder.aencode_passages(texts)
        lists: list[list[float]] = []
        for start in range(0, len(vectors), _LISTED_AT_ONCE):
            lists += vectors[start : start + _LISTED_AT_ONCE].tolist()
            await asyncio.sleep(0)
        return lists

    @property
    def _encoder(self) -> SharedEncoder:
        return cast("SharedEncoder", self._shared_model())

    def _new_handle(self) -> SharedEncoder:
        return SharedEncoder(
            self._model_settings(),
            self._batch_settings(),
            query_prefix=self.query_prefix,
            passage_prefix=self.passage_prefix,
        )


def identity_of(embedding: Embeddings) -> EncoderIdentity | None:
    """Give what the vectors of an embedding mean, if it can tell; loads the model."""
    return embedding.identity if isinstance(embedding, FrenchEmbeddings) else None
