"""What both embedders are set to, and how they come to their encoder."""

import asyncio
import inspect
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

from haystack import default_from_dict, default_to_dict
from haystack.utils import ComponentDevice, Secret

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.retrieval.encoder_identity import EncoderIdentity
from fr_reranker_plugin.retrieval.shared_encoder import SharedEncoder
from fr_reranker_plugin.scoring.settings import EMBEDDED, DType, ModelSettings
from haystack_integrations.components.rankers.fr_reranker import checks

_opening: Final = threading.Lock()
"""Held for the moment in which an embedder makes its handle. Not part of an embedder, so that it can be copied."""


class EncoderParameters:
    """The parameters that name an encoder, each an attribute of the same name, and the handle on it."""

    _handle: SharedEncoder | None = None

    def __init__(  # noqa: PLR0913 -- those of both embedders, which document them
        self,
        *,
        model: str | Path = EMBEDDED,
        revision: str | None = None,
        device: ComponentDevice | str | list[str] | None = None,
        token: Secret | None = None,
        dtype: DType = "auto",
        max_length: int | None = None,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        local_files_only: bool = False,
        cache_folder: str | None = None,
    ) -> None:
        if not isinstance(model, (str, Path)):
            raise SettingsError(f"model must be a Hub id, a folder or 'embedded', got {model!r}")
        self.model = str(model)
        self.revision = revision
        self.device = checks.checked_device(device)
        self.token = checks.checked_secret("token", token, variable="HF_TOKEN")
        self.dtype = dtype
        self.max_length = max_length
        self.query_prefix = query_prefix
        self.passage_prefix = passage_prefix
        self.local_files_only = local_files_only
        self.cache_folder = cache_folder
        for name in ("revision", "query_prefix", "passage_prefix", "cache_folder"):
            checks.check_text(name, getattr(self, name), optional=True)
        checks.check_flag("local_files_only", local_files_only)
        self.model_settings()

    def model_settings(self) -> ModelSettings:
        """Give the model and how it is loaded, in the words of the core; without the token."""
        return ModelSettings(
            model=self.model,
            revision=self.revision,
            device=checks.device_names(self.device),
            dtype=self.dtype,
            max_length=self.max_length,
            local_files_only=self.local_files_only,
            cache_folder=self.cache_folder,
        )

    @property
    def identity(self) -> EncoderIdentity:
        """What the embeddings mean, as a `FaissDocumentStore` takes it for `encoder`; loads the model."""
        return self._encoder.identity

    def warm_up(self) -> None:
        """Load the model unless it is loaded; safe from many threads, which then wait for one load.

        :raises ModelLoadError: If it cannot be loaded; the message says what to do, and a later call tries again.
        """
        self._encoder.warm_up()

    async def warm_up_async(self) -> None:
        """Load the model unless it is loaded, without blocking the event loop."""
        await self._encoder.awarm_up()

    def close(self) -> None:
        """Let go of the model. A later run loads it again."""
        with _opening:
            handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    async def close_async(self) -> None:
        """Let go of the model without blocking the event loop while what is queued is embedded."""
        await asyncio.to_thread(self.close)

    def to_dict(self) -> dict[str, Any]:
        """Give the class and its parameters as plain values, for YAML and JSON.

        :raises ValueError: If the token was made by `Secret.from_token`: it would be saved readably.
        """
        names = [name for name in inspect.signature(type(self).__init__).parameters if name != "self"]
        return default_to_dict(self, **{name: checks.savable(getattr(self, name)) for name in names})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make an embedder from what `to_dict` gave."""
        return default_from_dict(cls, data)

    @property
    def _encoder(self) -> SharedEncoder:
        """The handle on the model. The token is read here, at the first use, as Haystack asks."""
        with _opening:
            if self._handle is None:
                token = None if self.token is None else self.token.resolve_value()
                self._handle = SharedEncoder(
                    replace(self.model_settings(), token=token),
                    query_prefix=self.query_prefix,
                    passage_prefix=self.passage_prefix,
                )
            return self._handle

    def _get_telemetry_data(self) -> dict[str, Any]:
        """Give Haystack's usage statistics the model's name if everybody knows it; others stay on this machine."""
        return {"model": self.model if self.model == EMBEDDED else "custom"}

    def __getstate__(self) -> dict[str, Any]:
        # A copy starts cold, and holds neither the model nor the token in readable form.
        return {name: value for name, value in vars(self).items() if name != "_handle"}
