"""Knowing a model by its files, wherever its folder lies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

MODEL_FILES: Final = ("*.safetensors", "pytorch_model*.bin", "tokenizer.json")
"""What the answers of a model depend on: the weights and the tokenizer."""

_DIGITS: Final = 32


def fingerprint(folder: Path, patterns: Iterable[str] = MODEL_FILES) -> str:
    """Give a checksum of the files of a folder that match, whatever the folder is called."""
    digest = hashlib.sha256()
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:_DIGITS]
