"""Find the folder of a checkpoint: inside the package, on disk, in the Hub cache, or on the Hub."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Final

from fr_reranker_plugin.errors import ModelLoadError
from fr_reranker_plugin.scoring.settings import EMBEDDED, ModelSettings
from fr_reranker_plugin.scoring.tokenizer_files import has_tokenizer

logger = logging.getLogger(__name__)

_TEXT_FILES: Final = ["*.json", "*.txt", "*.model"]
_WEIGHTS: Final = {"safetensors": "model*.safetensors", "pickled": "pytorch_model*.bin"}
_MODELS_FOLDER: Final = "models"


def find_checkpoint(settings: ModelSettings, *, embedded: str = "cross_encoder") -> Path:
    """Give the local folder of a checkpoint, downloading it if that is needed and allowed.

    A revision that is in the Hub cache is taken from there without asking the Hub: a pinned model makes no request.

    :param settings: `model`, `revision`, `local_files_only`, `cache_folder` and `token` are used.
    :param embedded: Folder inside the package that the model name `"embedded"` stands for.
    :raises ModelLoadError: If there is no such checkpoint, or it cannot be reached; the message says what to do.
    """
    if settings.model == EMBEDDED:
        return embedded_checkpoint(embedded)
    folder = local_folder(settings.model)
    if folder is not None:
        return _checked_folder(folder)
    if as_path(settings.model).is_absolute() or settings.model.startswith((".", "~")) or settings.model.count("/") > 1:
        raise ModelLoadError(f"there is no folder {settings.model!r}, and that is not the name of a model on the Hub")
    if not is_hub_name(settings.model):
        raise ModelLoadError(f"{settings.model!r} is neither a folder nor the name of a model on the Hub")
    return cached_snapshot(settings) or _download(settings)


def as_path(model: str) -> Path:
    """Give the path that a model's name is, with `~` as the home that it stands for, if there is one."""
    try:
        return Path(model).expanduser()
    except RuntimeError:  # there is no such user
        return Path(model)


def local_folder(model: str) -> Path | None:
    """Give the folder that a model's name is, if there is one."""
    path = as_path(model)
    try:
        return path if path.is_dir() else None
    except OSError:  # no name that a file can have, or one that may not be looked at
        return None


def with_full_path(settings: ModelSettings) -> ModelSettings:
    """Give the settings with the full path of the model's folder, if it is one, so that it has one name."""
    folder = None if settings.model == EMBEDDED else local_folder(settings.model)
    return settings if folder is None else replace(settings, model=os.path.abspath(folder))


def is_hub_name(model: str) -> bool:
    """Tell whether a model on the Hub can have this name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented, not listed

    try:
        validate_repo_id(model)
    except HFValidationError:
        return False
    return True


def embedded_checkpoint(name: str) -> Path:
    """Give the folder of a checkpoint that ships inside this package.

    :raises ModelLoadError: If the installation lacks it.
    """
    folder = Path(str(files("fr_reranker_plugin"))) / _MODELS_FOLDER / name
    if not (folder / "config.json").is_file():
        raise ModelLoadError(f"this installation has no embedded model {name!r} at {folder}; install the wheel again")
    return folder


def cached_snapshot(settings: ModelSettings) -> Path | None:
    """Give the folder of a model in the Hub cache, or `None` if a part of it is not there."""
    for revision in _names_of_revision(settings):
        for weights in _WEIGHTS.values():
            try:
                folder = _snapshot(settings, revision, weights, local_files_only=True)
            except FileNotFoundError:  # not there, or an interrupted download left a part of it
                continue
            if (folder / "config.json").is_file() and any(folder.glob(weights)) and has_tokenizer(folder):
                return folder
    return None


def _snapshot(settings: ModelSettings, revision: str | None, weights: str, *, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        settings.model,
        revision=revision,
        cache_dir=settings.cache_folder,
        token=settings.token,
        local_files_only=local_files_only,
        allow_patterns=[*_TEXT_FILES, weights],
    )
    return Path(folder)


def _names_of_revision(settings: ModelSettings) -> Iterator[str | None]:
    """Yield the revision, and the full commits in the cache that an abbreviated one stands for."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    revision = settings.pinned_revision
    yield revision
    if revision is not None:
        cache = Path(settings.cache_folder or HF_HUB_CACHE)
        snapshots = cache / repo_folder_name(repo_id=settings.model, repo_type="model") / "snapshots"
        yield from sorted(folder.name for folder in snapshots.glob(f"{revision}*") if folder.name != revision)


def _download(settings: ModelSettings) -> Path:
    """Fetch configuration, tokenizer and weights; safetensors where the model has them."""
    if settings.local_files_only:
        raise ModelLoadError(
            f"{_describe(settings)} is not in the local cache, and local_files_only=True forbids asking the Hub; "
            f"run once without it, or use model={EMBEDDED!r}"
        )
    logger.info("downloading %s from the Hugging Face Hub", _describe(settings))
    with _hub_errors_explained(settings):
        for weights in _WEIGHTS.values():
            folder = _snapshot(settings, settings.pinned_revision, weights, local_files_only=False)
            if any(folder.glob(weights)):
                return _checked_folder(folder)
    raise ModelLoadError(f"{_describe(settings)} has no weights for torch ({', '.join(_WEIGHTS.values())})")


@contextmanager
def _hub_errors_explained(settings: ModelSettings) -> Iterator[None]:
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = _describe(settings)
    try:
        yield
    except GatedRepoError as error:
        raise ModelLoadError(
            f"{name} asks for an agreement on its Hub page first; accept it and pass token="
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelLoadError(
            f"the Hub has no {name}, or it is private and the token does not open it; check the name, or pass token="
        ) from error
    except RevisionNotFoundError as error:
        raise ModelLoadError(f"{settings.model} has no revision {settings.pinned_revision!r} on the Hub") from error
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelLoadError(
            f"the Hub could not be reached for {name} ({type(error).__name__}: {reason}); two ways work without it: "
            f"local_files_only=True with a cached copy, or model={EMBEDDED!r}"
        ) from error


def _checked_folder(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise ModelLoadError(f"{folder} is not a model folder: it has no config.json")
    if not any(_weight_files(folder)):
        raise ModelLoadError(f"{folder} has a config.json but no weights ({', '.join(_WEIGHTS.values())})")
    return folder


def _weight_files(folder: Path) -> Iterator[Path]:
    for pattern in _WEIGHTS.values():
        yield from folder.glob(pattern)


def _describe(settings: ModelSettings) -> str:
    revision = settings.pinned_revision
    return f"model {settings.model!r}" + (f" at revision {revision!r}" if revision else "")
