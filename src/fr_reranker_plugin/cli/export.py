"""`fr-reranker export`: turn a model into an ONNX file before its first use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fr_reranker_plugin.cli.printing import one_line, print_facts, print_json
from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.settings import EMBEDDED, ModelSettings


def export(
    model: Annotated[str, typer.Argument(help="'embedded', a folder, or a model of the Hugging Face Hub.")] = EMBEDDED,
    *,
    dtype: Annotated[str, typer.Option(help="float32, exact, or int8, smaller and faster.")] = "float32",
    output: Annotated[
        Path | None, typer.Option(help="A folder for the files; default: the cache, where --backend onnx looks.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch on the Hub.")] = None,
    local_files_only: Annotated[bool, typer.Option("--local-files-only", help="Never ask the Hub.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Export a model for ONNX Runtime, which runs it with --backend onnx; a model that is exported already stays.

    Prints where the file is, and how far its logits are from torch's at most, on a few French pairs.
    """
    from fr_reranker_plugin.cli.scoring import silence_libraries

    settings = ModelSettings(
        model=model,
        revision=revision,
        device="cpu",
        dtype=dtype,  # type: ignore[arg-type]  # the settings check it
        backend="onnx",
        local_files_only=local_files_only,
    )
    silence_libraries()
    facts = _exported(settings, output)
    if as_json:
        print_json(facts)
    else:
        print_facts(
            (name, f"{value:.2g}" if isinstance(value, float) else str(value))
            for name, value in facts.items()
            if value is not None
        )


def _exported(settings: ModelSettings, output: Path | None) -> dict[str, Any]:
    from rich.console import Console

    from fr_reranker_plugin.scoring.onnx_cache import read_manifest
    from fr_reranker_plugin.scoring.onnx_engine import exported_file

    if output is not None:
        _check_output(output)
    with Console(stderr=True).status(one_line(f"exporting {settings.model} in {settings.dtype}")):
        path = exported_file(settings, to=output)
    manifest = read_manifest(path.parent) or {}
    return {
        "model": settings.model,
        "revision": settings.pinned_revision,
        "dtype": settings.dtype,
        "file": str(path),
        "bytes": path.stat().st_size,
        "max_logit_difference": manifest.get("max_logit_difference"),
    }


def _check_output(folder: Path) -> None:
    """Refuse a place where something else would be lost."""
    from fr_reranker_plugin.scoring.onnx_cache import MANIFEST_FILE
    from fr_reranker_plugin.scoring.onnx_export import MODEL_FILE

    if not folder.exists():
        return
    if not folder.is_dir() or {path.name for path in folder.iterdir()} not in (set(), {MANIFEST_FILE, MODEL_FILE}):
        raise SettingsError(f"--output {folder} is there and holds no earlier export; name an empty or a new folder")
