"""What scores, and how a call is scored: the fields of the cross-encoder's classes beside those of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Self, cast

from langchain_core.utils import secret_from_env
from pydantic import Field, PrivateAttr, SecretStr, ValidationInfo, field_validator
from pydantic.json_schema import SkipJsonSchema

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.langchain.model_fields import ModelFields
from fr_reranker_plugin.scoring.calibration import Calibration
from fr_reranker_plugin.scoring.kept_calibration import KeptCalibration
from fr_reranker_plugin.scoring.long_documents import LongDocuments, reading, window_settings
from fr_reranker_plugin.scoring.remote.doors import REMOTE_KEY_VARIABLE, remote_settings
from fr_reranker_plugin.scoring.remote.scorer import RemoteScorer
from fr_reranker_plugin.scoring.remote.settings import RemoteDialect
from fr_reranker_plugin.scoring.scorer import Pair, Scorer
from fr_reranker_plugin.scoring.settings import Priority, check_calibrated_scale
from fr_reranker_plugin.scoring.shared import SharedScorer


class ScoringFields(ModelFields):
    """What concerns a call rather than the model, so that changing it keeps the model in use; and the scorer.

    :param scorer: Something that scores in place of a model of this process; it stays its owner's to close.
    :param timeout: Seconds until `DeadlineExceededError` once the model is loaded; `None` waits as long as it takes.
    :param priority: `"interactive"` for what someone waits for, `"bulk"` for work that may let the former go first.
    :param long_documents: What becomes of a text that is longer than the model reads. `"truncate"`: its end is not
        read; `"max"`: it is read in windows, and the best one counts; `"mean"`: the mean of the best three counts.
    :param window_overlap: Tokens that neighbouring windows share at least; half a window at most.
    :param max_windows: Most windows of one text; what is behind them is not read. `None`: all.
    :param calibration: A file that `fr-reranker calibrate` wrote: scores are its probabilities in place of the sigmoid.
        Read when the model is loaded, or at the first call. Not with `scale_score=False`.
    :param scale_score: Give scores in 0..1 rather than raw logits.
    :param remote_url: A server that scores in place of a model of this process, such as `fr-reranker serve`. Which
        device, length and batches there are is its affair then. `model_name` is what requests for Jina or Cohere name.
    :param remote_dialect: `"native"`, `"tei"`, `"jina"` or `"cohere"`; `"auto"` finds out.
    :param remote_api_key: Key for that server; read from `FR_RERANKER_API_KEY` unless given. It is neither shown nor
        dumped.
    """

    scorer: Annotated[Scorer | None, SkipJsonSchema()] = Field(default=None, exclude=True, repr=False)
    timeout: float | None = Field(default=None, gt=0, strict=True)
    priority: Priority = "interactive"
    long_documents: LongDocuments = "truncate"
    window_overlap: int = Field(default=64, ge=0, strict=True)
    max_windows: int | None = Field(default=None, gt=0, strict=True)
    calibration: str | None = None
    scale_score: bool = True
    remote_dialect: RemoteDialect = "auto"
    remote_url: str | None = None
    remote_api_key: SecretStr | None = Field(
        default_factory=secret_from_env(REMOTE_KEY_VARIABLE, default=None), exclude=True
    )

    further_model_fields: ClassVar[frozenset[str]] = frozenset(
        {"scorer", "remote_url", "remote_dialect", "remote_api_key"}
    )

    _kept_calibration: KeptCalibration = PrivateAttr(default_factory=KeptCalibration)

    @field_validator("calibration", mode="before")
    @classmethod
    def _file_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, PurePath) else value

    @field_validator("calibration", "scale_score")
    @classmethod
    def _on_one_scale(cls, value: str | bool | None, info: ValidationInfo) -> str | bool | None:  # noqa: FBT001 -- pydantic passes the field's value
        both = {"calibration": None, "scale_score": True, **info.data, str(info.field_name): value}
        check_calibrated_scale(both["calibration"], scale_score=both["scale_score"])
        return value

    @field_validator("scorer", "max_length", "long_documents", "remote_dialect", "remote_url")
    @classmethod
    def _left_to_the_server(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 -- the value of any of them
        given = {**info.data, str(info.field_name): value}
        if given.get("scorer") is not None and given.get("remote_url") is not None:
            raise SettingsError("scorer and remote_url both say who scores; leave out one of the two")
        remote_settings(
            given.get("remote_url"),
            dialect=given.get("remote_dialect", "auto"),
            max_length=given.get("max_length"),
            long_documents=given.get("long_documents", "truncate"),
        )
        return value

    def warm_up(self) -> None:
        """Load the model unless it is loaded, and the calibration; see `ModelFields.warm_up`.

        :raises SettingsError: If the calibration is not there or cannot be used.
        """
        self._calibration()
        if self.scorer is None:
            super().warm_up()

    async def awarm_up(self) -> None:
        """Load the model and the calibration without blocking the event loop; see `ModelFields.awarm_up`."""
        await self._acalibration()
        if self.scorer is None:
            await super().awarm_up()

    def _new_handle(self) -> SharedScorer | RemoteScorer:
        remote = remote_settings(self.remote_url, dialect=self.remote_dialect, model=self.model_name)
        if remote is None:
            return SharedScorer(self._model_settings(), self._batch_settings())
        key = (self.remote_api_key and self.remote_api_key.get_secret_value()) or None
        return RemoteScorer(replace(remote, api_key=key))

    def _scorer(self) -> Scorer:
        return cast("SharedScorer | RemoteScorer", self._shared_model()) if self.scorer is None else self.scorer

    def _calibration(self) -> Calibration | None:
        return self._kept_calibration.read(self.calibration, model=self._known_model())

    async def _acalibration(self) -> Calibration | None:
        return await self._kept_calibration.aread(self.calibration, model=self._known_model())

    def _known_model(self) -> str | None:
        return self.model_name if self.scorer is None else None

    def _score(self, pairs: Sequence[Pair]) -> list[float]:
        return self._reader().score(pairs, timeout=self.timeout, priority=self.priority)

    async def _ascore(self, pairs: Sequence[Pair]) -> list[float]:
        return await self._reader().ascore(pairs, timeout=self.timeout, priority=self.priority)

    def _reader(self) -> Scorer:
        """Give the scorer, reading long texts as these fields say."""
        windows = window_settings(self.long_documents, overlap=self.window_overlap, max_windows=self.max_windows)
        return reading(self._scorer(), windows)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        shared_with_copy = {id(self.scorer): self.scorer}
        return super().__deepcopy__({**(memo or {}), **shared_with_copy})
