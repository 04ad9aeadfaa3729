"""The one place that imports FAISS."""

from __future__ import annotations

from typing import Any

from fr_reranker_plugin.errors import MissingDependencyError


def load_faiss() -> Any:  # noqa: ANN401 -- older versions publish no types
    """Import FAISS.

    :raises MissingDependencyError: If it is not installed.
    """
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "an index needs faiss: pip install 'fr-reranker-plugin[faiss]', or [gpu] for NVIDIA GPUs"
        ) from error
    return faiss
