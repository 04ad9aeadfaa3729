"""The embedder of documents."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from haystack import Document, component, logging
from haystack.utils import ComponentDevice, Secret

from fr_reranker_plugin.retrieval.vectors import Vectors
from fr_reranker_plugin.scoring.ranking import TextForm
from fr_reranker_plugin.scoring.settings import EMBEDDED, DType
from haystack_integrations.components.embedders.fr_reranker.parameters import EncoderParameters
from haystack_integrations.components.rankers.fr_reranker import checks

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 512
"""Texts given to the encoder in one call: enough to sort by length, few enough to show progress and to be cancelled."""


@component
class FrenchDocumentEmbedder(EncoderParameters):
    """Gives documents the unit vectors of their texts, after the prefix that their model expects before passages.

    ```python
    from haystack import Document
    from haystack_integrations.components.embedders.fr_reranker import FrenchDocumentEmbedder

    documents = [Document(content="La mairie délivre l'acte de naissance.")]
    embedded = FrenchDocumentEmbedder().run(documents)["documents"]
    ```
    """

    def __init__(  # noqa: PLR0913 -- flat as YAML needs it
        self,
        *,
        model: str | Path = EMBEDDED,
        revision: str | None = None,
        device: ComponentDevice | str | list[str] | None = None,
        token: Secret | None = Secret.from_env_var(["HF_API_TOKEN", "HF_TOKEN"], strict=False),  # noqa: B008 -- frozen
        dtype: DType = "auto",
        max_length: int | None = None,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        local_files_only: bool = False,
        cache_folder: str | None = None,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        progress_bar: bool = False,
    ) -> None:
        """Note and check the parameters; nothing is read or loaded. Give both embedders the same model.

        :param model: A Hub id, a local folder, or `"embedded"` for the small bi-encoder inside this package.
        :param revision: Commit, tag or branch on the Hub; `None`: `main`.
        :param device: Where the model runs. `None`: the first GPU if there is one, else the CPU.
            A list: a copy of the model on each, behind one queue.
        :param token: Hub token for a private model; read when the model is loaded, never shown or saved.
        :param dtype: Arithmetic of the model. `"auto"`: float16 on CUDA, float32 elsewhere.
        :param max_length: Longest text in tokens, prefix included. `None`: what the model was made for.
        :param query_prefix: Stands before each question. `None`: what the model was trained with, such as `"query: "`.
        :param passage_prefix: Stands before each passage. `None`: the same, such as `"passage: "`.
        :param local_files_only: Never ask the Hub; use the local cache.
        :param cache_folder: The Hub cache to use instead of the default one.
        :param meta_fields_to_embed: Metadata that is read before the content; a missing or `None` value is left out.
        :param embedding_separator: Stands between the metadata values and the content.
        :param progress_bar: Show a bar while documents are embedded.
        :raises SettingsError: If a value is not allowed. It is a `ValueError`.
        :raises TypeError: If `token` is not a `Secret`.
        """
        EncoderParameters.__init__(
            self,
            model=model,
            revision=revision,
            device=device,
            token=token,
            dtype=dtype,
            max_length=max_length,
            query_prefix=query_prefix,
            passage_prefix=passage_prefix,
            local_files_only=local_files_only,
            cache_folder=cache_folder,
        )
        self.meta_fields_to_embed = checks.field_names(meta_fields_to_embed)
        checks.check_text("embedding_separator", embedding_separator)
        self.embedding_separator = embedding_separator
        checks.check_flag("progress_bar", progress_bar)
        self.progress_bar = progress_bar

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, list[Document]]:
        """Embed documents.

        A document with nothing to read gets no embedding, and a warning says how many there were.

        :param documents: The documents; they are not changed, and copies are returned.
        :returns: A dictionary with the key `documents`: the documents in their order, with embeddings of the length 1.
        :raises SettingsError: If `documents` is not a list of documents.
        """
        embedded: list[Document] = []
        for part in self._parts(documents):
            embedded += part.with_vectors(self._encoder.encode_passages(part.to_read))
        return {"documents": embedded}

    @component.output_types(documents=list[Document])
    async def run_async(self, documents: list[Document]) -> dict[str, list[Document]]:
        """Embed documents without blocking the event loop; like `run` otherwise."""
        embedded: list[Document] = []
        for part in self._parts(documents):
            embedded += part.with_vectors(await self._encoder.aencode_passages(part.to_read))
        return {"documents": embedded}

    def _parts(self, documents: object) -> Iterator["_Part"]:
        """Yield the documents some at a time, so that an event loop gets its turn in between."""
        from rich.progress import track

        given = checks.checked_documents(documents)
        form = TextForm(separator=self.embedding_separator)
        blank = 0
        for start in track(range(0, len(given), _AT_ONCE), "Embedding", disable=not self.progress_bar):
            some = given[start : start + _AT_ONCE]
            texts = [form.passage([d.meta.get(name) for name in self.meta_fields_to_embed], d.content) for d in some]
            blank += texts.count(None)
            yield _Part(some, texts)
        if blank:
            logger.warning("{blank} documents hold no text and get no embedding", blank=blank)


@dataclass(frozen=True, slots=True)
class _Part:
    """Documents and their texts; `None` for one that has nothing to read."""

    documents: list[Document]
    texts: list[str | None]

    @property
    def to_read(self) -> list[str]:
        return [text for text in self.texts if text is not None]

    def with_vectors(self, vectors: Vectors) -> list[Document]:
        """Give copies of the documents with the vectors of their texts."""
        rows = iter(vectors.tolist())
        return [
            replace(document, embedding=None if text is None else next(rows))
            for document, text in zip(self.documents, self.texts, strict=True)
        ]
