"""Which model runs: the fields that the LangChain classes share, and their handle on the live model."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from pathlib import PurePath
from typing import Any, ClassVar, Final, Protocol, Self

from langchain_core.utils import secret_from_env
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.settings import REFERENCE_MODEL, Backend, BatchSettings, DType, ModelSettings

_TOKEN_VARIABLES: Final = ["HF_TOKEN", "HUGGINGFACEHUB_API_TOKEN", "HF_API_TOKEN"]
_opening: Final = threading.Lock()


class ModelHandle(Protocol):
    """A live model, in this process or elsewhere: loaded when it is first used, and let go of."""

    def warm_up(self) -> None:
        """Make sure that it answers."""

    async def awarm_up(self) -> None:
        """Make sure that it answers, without blocking the event loop."""

    def close(self) -> None:
        """Let go of it."""


class ModelFields(BaseModel, ABC):
    """The model behind an adapter, loaded at the first use and shared with everyone who names the same one.

    Copies, deep copies and pickles are cheap: they hold no weights, and join the live model when they are used.
    Setting one of these fields lets go of the model that was in use.

    :param model_name: A Hub id, a local folder, or `"embedded"`; `model=` is accepted too.
    :param revision: Commit, tag or branch on the Hub. `None`: the pinned commit for the reference model, else `main`.
    :param device: `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`. `None`: the first GPU if there is one, else the CPU.
        A list like `["cuda:0", "cuda:1"]`: a copy of the model on each, behind one queue.
    :param dtype: Arithmetic of the forward pass. `"auto"`: float16 on CUDA, float32 elsewhere.
    :param backend: What runs the model. `"auto"` is torch.
    :param max_length: Longest pair or text in tokens, special tokens included; a longer one is cut. `None`: 512, or the
        model's own limit where that is smaller.
    :param batch_size: Most pairs or texts in one forward pass. `None`: only `max_batch_tokens` decides.
    :param max_batch_tokens: Tokens computed in one forward pass. `None`: by device.
    :param token: Hub token of a private model; read from `HF_TOKEN`, `HUGGINGFACEHUB_API_TOKEN` or `HF_API_TOKEN`
        unless given. It is neither shown nor dumped.
    :param cache_folder: The Hub cache to use instead of the default one.
    :param local_files_only: Never ask the Hub; use the local cache.
    :param trust_remote_code: Only `False`: code out of a model's repository is never run.
    """

    model_config = ConfigDict(
        extra="forbid",
        arbitrary_types_allowed=True,
        populate_by_name=True,
        validate_assignment=True,
        protected_namespaces=(),
    )

    model_name: str = Field(default=REFERENCE_MODEL, alias="model")
    revision: str | None = None
    device: str | list[str] | None = None
    dtype: DType = "auto"
    backend: Backend = "auto"
    max_length: int | None = Field(default=None, strict=True)
    batch_size: int | None = Field(default=None, gt=0, strict=True)
    max_batch_tokens: int | None = Field(default=None, gt=0, strict=True)
    token: SecretStr | None = Field(default_factory=secret_from_env(_TOKEN_VARIABLES, default=None), exclude=True)
    cache_folder: str | None = None
    local_files_only: bool = False
    trust_remote_code: bool = False

    further_model_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields of a subclass that choose the model as those above do."""

    _handle: ModelHandle | None = PrivateAttr(default=None)

    @field_validator("model_name", "cache_folder", mode="before")
    @classmethod
    def _path_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, PurePath) else value

    @field_validator("model_name")
    @classmethod
    def _named(cls, value: str) -> str:
        return ModelSettings(model=value).model

    @field_validator("max_length")
    @classmethod
    def _long_enough(cls, value: int | None) -> int | None:
        return ModelSettings(max_length=value).max_length

    @field_validator("trust_remote_code")
    @classmethod
    def _no_remote_code(cls, value: bool) -> bool:  # noqa: FBT001 -- pydantic passes the field's value
        if value:
            raise SettingsError(
                "trust_remote_code must be False: the supported families need no code out of the model's repository, "
                "and it would run with your rights; leave it out"
            )
        return value

    def warm_up(self) -> None:
        """Load the model unless it is loaded; safe from many threads, which then wait for one load.

        :raises ModelLoadError: If it cannot be loaded; nothing is kept, and a later call tries again.
        """
        self._shared_model().warm_up()

    async def awarm_up(self) -> None:
        """Load the model unless it is loaded, without blocking the event loop; see `warm_up`.

        The first load of a process imports torch, which stops all threads for some tenths of a second: where that
        matters, warm up before the loop starts.
        """
        await self._shared_model().awarm_up()

    def close(self) -> None:
        """Let go of the model; its last user frees the memory. Using this object again loads it again."""
        with _opening:
            handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    async def aclose(self) -> None:
        """Let go of the model without blocking the event loop; see `close`."""
        await asyncio.to_thread(self.close)

    @abstractmethod
    def _new_handle(self) -> ModelHandle:
        """Make the handle on the model that these fields name; loads nothing."""

    def _shared_model(self) -> ModelHandle:
        with _opening:
            if self._handle is None:
                self._handle = self._new_handle()
            return self._handle

    def _model_settings(self) -> ModelSettings:
        return ModelSettings(
            model=self.model_name,
            revision=self.revision,
            device=self.device,
            dtype=self.dtype,
            backend=self.backend,
            max_length=self.max_length,
            local_files_only=self.local_files_only,
            cache_folder=self.cache_folder,
            token=(self.token and self.token.get_secret_value()) or None,
        )

    def _batch_settings(self) -> BatchSettings:
        return BatchSettings(max_batch_size=self.batch_size, max_batch_tokens=self.max_batch_tokens)

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 -- as pydantic declares it
        super().__setattr__(name, value)
        if name in ModelFields.model_fields or name in self.further_model_fields:
            self.close()

    def __getstate__(self) -> dict[Any, Any]:
        # a handle leaves its secret behind when it is pickled; what is unpickled makes one of its own
        state = super().__getstate__()
        return {**state, "__pydantic_private__": {**(state["__pydantic_private__"] or {}), "_handle": None}}

    def __copy__(self) -> Self:
        return super().__copy__()._cold()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return super().__deepcopy__(memo)._cold()

    def _cold(self) -> Self:
        """Forget the handle: after a copy it would be the original's, and its model that of the original's fields."""
        self._handle = None
        return self
