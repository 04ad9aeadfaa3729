"""What a ranker is set to: checked when it is made, and saved with its pipeline."""

import inspect
from pathlib import Path
from typing import Any, Final, Self

from haystack import default_from_dict, default_to_dict
from haystack.utils import ComponentDevice, Secret

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.calibration import Calibration
from fr_reranker_plugin.scoring.kept_calibration import KeptCalibration
from fr_reranker_plugin.scoring.long_documents import LongDocuments, WindowSettings, window_settings
from fr_reranker_plugin.scoring.ranking import TextForm
from fr_reranker_plugin.scoring.remote.doors import REMOTE_KEY_VARIABLE, remote_settings
from fr_reranker_plugin.scoring.remote.settings import RemoteDialect, RemoteSettings
from fr_reranker_plugin.scoring.settings import (
    REFERENCE_MODEL,
    Backend,
    BatchSettings,
    DType,
    ModelSettings,
    Priority,
    check_calibrated_scale,
)
from haystack_integrations.components.rankers.fr_reranker import checks
from haystack_integrations.components.rankers.fr_reranker.request import RankerRules

_AROUND_TEXTS: Final = ("query_prefix", "query_suffix", "document_prefix", "document_suffix")


class RankerParameters:
    """The parameters of a ranker, each an attribute of the same name.

    They may be changed until the model is loaded; those that concern one call only, at any time.
    """

    def __init__(  # noqa: PLR0913, PLR0915 -- a superset of SentenceTransformersSimilarityRanker, flat as YAML needs it
        self,
        *,
        model: str | Path = REFERENCE_MODEL,
        device: ComponentDevice | str | list[str] | None = None,
        token: Secret | None = Secret.from_env_var(["HF_API_TOKEN", "HF_TOKEN"], strict=False),  # noqa: B008 -- frozen
        top_k: int | None = 10,
        query_prefix: str = "",
        query_suffix: str = "",
        document_prefix: str = "",
        document_suffix: str = "",
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        scale_score: bool = True,
        score_threshold: float | None = None,
        trust_remote_code: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        tokenizer_kwargs: dict[str, Any] | None = None,
        config_kwargs: dict[str, Any] | None = None,
        backend: Backend = "torch",
        batch_size: int | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        max_length: int | None = None,
        dtype: DType = "auto",
        max_batch_tokens: int | None = None,
        deduplicate: bool = True,
        raise_on_failure: bool = True,
        timeout: float | None = None,
        score_meta_field: str | None = None,
        return_embedding: bool = True,
        cache_folder: str | None = None,
        long_documents: LongDocuments = "truncate",
        window_overlap: int = 64,
        max_windows: int | None = None,
        priority: Priority = "interactive",
        calibration: str | Path | None = None,
        first_stage_weight: float = 0.0,
        remote_url: str | None = None,
        remote_api_key: Secret | None = Secret.from_env_var(REMOTE_KEY_VARIABLE, strict=False),  # noqa: B008 -- frozen
        remote_dialect: RemoteDialect = "auto",
    ) -> None:
        """Note and check the parameters; nothing is read or loaded.

        :param model: A Hub id, a local folder, or `"embedded"` for the small model inside this package.
        :param device: Where the model runs; a list: a copy on each, behind one queue. `None`: the first GPU or the CPU.
        :param token: Hub token for a private model; read when the model is loaded, never shown or saved.
        :param top_k: Most documents to return; `None` returns all.
        :param query_prefix: Text before the query.
        :param query_suffix: Text after the query.
        :param document_prefix: Text before each document, its metadata included.
        :param document_suffix: Text after each document.
        :param meta_fields_to_embed: Metadata that is read before the content; a missing or `None` value is left out.
        :param embedding_separator: Stands between the metadata values and the content.
        :param scale_score: Give scores in 0..1 (sigmoid) rather than raw logits. The order is the same.
        :param score_threshold: Keep only documents with at least this score; applied before `top_k`.
        :param trust_remote_code: Only `False`: code of a checkpoint is never run.
        :param model_kwargs: Only `{"dtype": ...}` or `{"torch_dtype": ...}`; better say `dtype`.
        :param tokenizer_kwargs: Only `{"model_max_length": ...}`; better say `max_length`.
        :param config_kwargs: Only `None` or empty.
        :param backend: What runs the model: `"torch"`, or `"onnx"` for ONNX Runtime on a CPU. `"auto"` is torch.
        :param batch_size: Most pairs in one forward pass. `None`: only `max_batch_tokens` decides.
        :param revision: Commit, tag or branch on the Hub. `None`: the pinned commit of the default model, else `main`.
        :param local_files_only: Never ask the Hub; use the local cache.
        :param max_length: Longest pair in tokens; longer ones are cut. `None`: 512, or the model's own limit.
        :param dtype: Arithmetic of the model. `"auto"`: float16 on CUDA, float32 elsewhere.
        :param max_batch_tokens: Longest pair times pairs in one forward pass; bounds the memory. `None`: by device.
        :param deduplicate: Keep one document of each id, at its first position; the one with the best incoming score.
        :param raise_on_failure: If `False`, a failure of the scoring is logged, and the documents come back unranked,
            `top_k` not applied. Wrong arguments and settings raise either way, and so does `warm_up`.
        :param timeout: Seconds that the scoring of one call may take once the model is loaded; `None`: no limit.
        :param score_meta_field: Metadata key under which the score that a document came with is kept.
        :param return_embedding: If `False`, the returned documents carry no embeddings.
        :param cache_folder: The Hub cache to use instead of the default one.
        :param long_documents: What becomes of a document that is longer than the model reads. `"truncate"`: its end is
            not read. `"max"`: it is read in windows, and the best one counts; `"mean"`: the mean of the best three.
        :param window_overlap: Tokens that neighbouring windows share at least; half a window at most.
        :param max_windows: Most windows of one document; what is behind them is not read. `None`: all.
        :param priority: `"interactive"` for what someone waits for, `"bulk"` for work that may let the former go first.
        :param calibration: A file that `fr-reranker calibrate` wrote: scores are its probabilities in place of the
            sigmoid, and `score_threshold` is one of them. Read when the model is loaded. Not with `scale_score=False`.
        :param first_stage_weight: How much the order counts in which the documents come, from 0 to below 1. With 0.5
            the ranking is the mean of both stages, and a score depends on the other documents; see `blended`.
        :param remote_url: A server that scores in place of a model of this process, such as `fr-reranker serve`. Which
            device, length and batches there are is its affair then. `model` is what requests for Jina or Cohere name.
        :param remote_api_key: Key for that server; read at the first use, never shown or saved.
        :param remote_dialect: `"native"`, `"tei"`, `"jina"` or `"cohere"`; `"auto"` finds out.
        :raises SettingsError: If a value is not allowed. It is a `ValueError`.
        :raises TypeError: If `token` or `remote_api_key` is not a `Secret`.
        """
        if not isinstance(model, (str, Path)):
            raise SettingsError(f"model must be a Hub id, a folder or 'embedded', got {model!r}")
        self.model = str(model)
        self.device = checks.checked_device(device)
        self.token = checks.checked_secret("token", token, variable="HF_TOKEN")
        self.top_k = top_k
        self.query_prefix = query_prefix
        self.query_suffix = query_suffix
        self.document_prefix = document_prefix
        self.document_suffix = document_suffix
        self.meta_fields_to_embed = checks.field_names(meta_fields_to_embed)
        self.embedding_separator = embedding_separator
        self.scale_score = scale_score
        self.score_threshold = score_threshold
        self.trust_remote_code = trust_remote_code
        self.model_kwargs = model_kwargs
        self.tokenizer_kwargs = tokenizer_kwargs
        self.config_kwargs = config_kwargs
        self.backend = backend
        self.batch_size = batch_size
        self.revision = revision
        self.local_files_only = local_files_only
        self.max_length = max_length
        self.dtype = dtype
        self.max_batch_tokens = max_batch_tokens
        self.deduplicate = deduplicate
        self.raise_on_failure = raise_on_failure
        self.timeout = timeout
        self.score_meta_field = score_meta_field
        self.return_embedding = return_embedding
        self.cache_folder = cache_folder
        self.long_documents = long_documents
        self.window_overlap = window_overlap
        self.max_windows = max_windows
        self.priority = priority
        self.calibration = str(calibration) if isinstance(calibration, Path) else calibration
        self.first_stage_weight = first_stage_weight
        self.remote_url = remote_url
        self.remote_api_key = checks.checked_secret("remote_api_key", remote_api_key, variable=REMOTE_KEY_VARIABLE)
        self.remote_dialect = remote_dialect
        self._kept_calibration = KeptCalibration()
        self._check()

    def model_settings(self) -> ModelSettings:
        """Give the model and how it is loaded, in the words of the core; without the token."""
        return ModelSettings(
            model=self.model,
            revision=self.revision,
            device=checks.device_names(self.device),
            dtype=checks.dtype_of(self.dtype, self.model_kwargs),
            backend=self.backend,
            max_length=checks.max_length_of(self.max_length, self.tokenizer_kwargs),
            local_files_only=self.local_files_only,
            cache_folder=self.cache_folder,
        )

    def batch_settings(self) -> BatchSettings:
        """Give the bounds of one forward pass; those of the queue are the core's."""
        tokens = {} if self.max_batch_tokens is None else {"max_batch_tokens": self.max_batch_tokens}
        return BatchSettings(max_batch_size=self.batch_size, **tokens)

    def remote_settings(self) -> RemoteSettings | None:
        """Give the server that scores, without its key; `None` if a model of this process does."""
        return remote_settings(
            self.remote_url,
            dialect=self.remote_dialect,
            model=self.model,
            max_length=checks.max_length_of(self.max_length, self.tokenizer_kwargs),
            long_documents=self.long_documents,
        )

    def window_settings(self) -> WindowSettings | None:
        """Give how long documents are read in windows; `None` if they are truncated."""
        return window_settings(self.long_documents, overlap=self.window_overlap, max_windows=self.max_windows)

    def ranking_rules(self, calibration: Calibration | None = None) -> RankerRules:
        """Give the rules of a call that changes none of them.

        :param calibration: What the file of the parameter `calibration` holds.
        """
        around: dict[str, str] = {name: getattr(self, name) for name in _AROUND_TEXTS}
        return RankerRules(
            form=TextForm(separator=self.embedding_separator, **around),
            fields=self.meta_fields_to_embed,
            top_k=self.top_k,
            scale_score=self.scale_score,
            score_threshold=self.score_threshold,
            deduplicate=self.deduplicate,
            score_meta_field=self.score_meta_field,
            return_embedding=self.return_embedding,
            calibration=calibration,
            first_stage_weight=self.first_stage_weight,
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the class and its parameters as plain values, for YAML and JSON.

        :raises ValueError: If the token was made by `Secret.from_token`: it would be saved readably.
        """
        names = [name for name in inspect.signature(type(self).__init__).parameters if name != "self"]
        return default_to_dict(self, **{name: checks.savable(getattr(self, name)) for name in names})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make a ranker from what `to_dict` gave."""
        return default_from_dict(cls, data)

    def _check(self) -> None:
        checks.refuse_unsupported(self.trust_remote_code, self.config_kwargs)
        for name in (*_AROUND_TEXTS, "embedding_separator"):
            checks.check_text(name, getattr(self, name))
        for name in ("revision", "cache_folder", "calibration"):
            checks.check_text(name, getattr(self, name), optional=True)
        for name in ("local_files_only", "raise_on_failure"):
            checks.check_flag(name, getattr(self, name))
        checks.check_timeout(self.timeout)
        self.model_settings()
        self.batch_settings()
        self.ranking_rules()
        check_calibrated_scale(self.calibration, scale_score=self.scale_score)
        self.window_settings()
        self.remote_settings()
        checks.check_priority(self.priority)
