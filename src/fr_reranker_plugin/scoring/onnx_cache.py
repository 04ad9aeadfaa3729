"""Keep exported models in a folder, so that a checkpoint is exported once; an entry that does not fit is made anew."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fr_reranker_plugin.errors import ModelLoadError
from fr_reranker_plugin.scoring.onnx_export import MODEL_FILE, OPSET, export

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from fr_reranker_plugin.scoring.settings import ModelSettings
    from fr_reranker_plugin.scoring.tokenization import PairTokenizer

logger = logging.getLogger(__name__)

MANIFEST_FILE: Final = "manifest.json"
CACHE_VARIABLE: Final = "FR_RERANKER_CACHE"

_FORMAT: Final = 2
"""Counts up whenever we export otherwise than before."""

_WHAT_COUNTS: Final = ("config.json", "tokenizer_config.json", "model*.safetensors", "pytorch_model*.bin")
_MADE_WITH: Final = ("torch", "transformers", "onnx", "onnxruntime")
_CHECKSUM: Final = re.compile(r"[0-9a-f]{64}")
_ABANDONED_AFTER: Final = 24 * 3600.0
_ATTEMPTS: Final = 3

_exporting: Final = threading.Lock()
"""torch exports one model at a time in a process."""


def cache_folder() -> Path:
    """Give the folder of exported models: in `$FR_RERANKER_CACHE`, else in the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser() / "onnx"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fr-reranker-plugin" / "onnx"


def cached_export(
    settings: ModelSettings, folder: Path, config: PretrainedConfig, tokenizer: PairTokenizer, *, to: Path | None = None
) -> Path:
    """Give the ONNX file of a checkpoint, exporting it unless a sound one is there.

    Several processes may do so at once: each exports into a folder of its own, and the first to finish is used by all.

    :param settings: `model`, `revision` and `dtype` are used, and must be resolved.
    :param folder: The checkpoint.
    :param to: The folder that gets the file, instead of one in the cache.
    :raises ModelLoadError: If the model cannot be exported, or the folder cannot be written.
    """
    identity = _identity(folder, settings.dtype)
    name = re.sub(r"[^\w.-]+", "-", Path(settings.model).name)
    entry = to or cache_folder() / f"{name}-{settings.dtype}-{_digest_of(identity)[:16]}"
    with _exporting:
        if read_manifest(entry, identity) is None:
            logger.info("exporting %s to ONNX in %s, this once; kept in %s", settings.model, settings.dtype, entry)
            with _disk_errors_explained(entry):
                _export_into(entry, identity, settings, (folder, config, tokenizer))
                if to is None:
                    _remove_superseded(entry, settings)
    return entry / MODEL_FILE


def read_manifest(entry: Path, identity: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """Give the manifest of an exported model; `None` if there is none, a file is damaged or it is of another export.

    :param identity: What it must have been made from and with; `None` does not look.
    """
    try:
        manifest = json.loads((entry / MANIFEST_FILE).read_text(encoding="utf-8"))
        fits = identity is None or manifest["identity"] == identity
        sound = fits and manifest["files"] == {MODEL_FILE: _checksum(entry / MODEL_FILE)}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest if sound else None


def _identity(folder: Path, dtype: str) -> dict[str, Any]:
    """Tell what an export is made from and with: content, not places or dates, so that a copy is as good."""
    paths = sorted(path for pattern in _WHAT_COUNTS for path in folder.glob(pattern))
    return {
        "format": _FORMAT,
        "dtype": dtype,
        "opset": OPSET,
        "checkpoint": {path.name: _checksum(path) for path in paths},
        "versions": {package: _version(package) for package in _MADE_WITH},
    }


def _checksum(path: Path) -> str:
    """Give the SHA-256 of a file; the Hub's cache names large ones by it."""
    blob = path.resolve()
    if blob.parent.name == "blobs" and _CHECKSUM.fullmatch(blob.name):
        return blob.name
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _export_into(
    entry: Path,
    identity: dict[str, Any],
    settings: ModelSettings,
    checkpoint: tuple[Path, PretrainedConfig, PairTokenizer],
) -> None:
    """Export next to `entry`, and put it there in one step."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=entry.parent, ignore_cleanup_errors=True) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        folder, config, tokenizer = checkpoint
        difference = export(folder, config, tokenizer, settings, made)
        manifest = {
            "model": settings.model,
            "revision": settings.revision,
            "identity": identity,
            "max_logit_difference": difference,
            "files": {MODEL_FILE: _checksum(made / MODEL_FILE)},
        }
        (made / MANIFEST_FILE).write_text(json.dumps(manifest, ensure_ascii=False, indent=2), encoding="utf-8")
        _publish(made, entry, identity, aside=Path(temporary))


def _publish(made: Path, entry: Path, identity: dict[str, Any], *, aside: Path) -> None:
    """Rename `made` to `entry`; what another process has put there meanwhile stays, if it is sound."""
    for attempt in range(_ATTEMPTS):
        try:
            os.replace(made, entry)
        except OSError:
            if read_manifest(entry, identity) is not None:
                return
            if attempt == _ATTEMPTS - 1 or not entry.exists():
                raise
            with suppress(FileNotFoundError):  # the other process has moved it away
                os.replace(entry, aside / f"damaged-{attempt}")
        else:
            return


def _remove_superseded(entry: Path, settings: ModelSettings) -> None:
    """Delete earlier exports of the same model and dtype, and what processes that were killed have left."""
    for other in entry.parent.iterdir():
        if other == entry or not other.is_dir():
            continue
        if other.name.startswith(".export-"):
            superseded = time.time() - other.stat().st_mtime > _ABANDONED_AFTER
        else:
            superseded = _names(other / MANIFEST_FILE, settings)
        if superseded:
            shutil.rmtree(other, ignore_errors=True)


def _names(manifest: Path, settings: ModelSettings) -> bool:
    """Whether a manifest is of this model, revision and dtype."""
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
        named = (found["model"], found["revision"], found["identity"]["dtype"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(named == (settings.model, settings.revision, settings.dtype))


@contextmanager
def _disk_errors_explained(entry: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelLoadError(
            f"the exported model could not be kept in {entry}: {error}; "
            f"make room, or set {CACHE_VARIABLE} to a folder that can be written"
        ) from error
