"""One exported model, opened with ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, cast

from fr_reranker_plugin.errors import MissingDependencyError, ModelLoadError
from fr_reranker_plugin.scoring.scorer import EncodedPair

if TYPE_CHECKING:
    import numpy as np
    from onnxruntime import InferenceSession

_ERRORS_ONLY: Final = 3


class OnnxSession:
    """An exported model that gives the logits of a batch.

    :param session: The model; it has one output, `logits`.
    :param pad_token_id: What shorter pairs are filled up with.
    """

    def __init__(self, session: InferenceSession, *, pad_token_id: int) -> None:
        self._session = session
        self._pad_token_id = pad_token_id
        self._inputs = [entry.name for entry in session.get_inputs()]

    @classmethod
    def open(cls, path: Path, *, pad_token_id: int) -> Self:
        """Open an exported model.

        :raises ModelLoadError: If ONNX Runtime cannot read it.
        """
        return cls(_open(path), pad_token_id=pad_token_id)

    def logits(self, batch: Sequence[EncodedPair]) -> list[float]:
        """Give the logit of each pair of `batch`, computed in one pass."""
        inputs = padded_inputs(batch, pad_token_id=self._pad_token_id)
        (logits,) = self._session.run(["logits"], {name: inputs[name] for name in self._inputs})
        return cast("list[float]", logits.tolist())


def check_onnxruntime() -> None:
    """Make sure that ONNX Runtime can be imported.

    :raises MissingDependencyError: Otherwise.
    """
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "backend 'onnx' needs onnxruntime: pip install 'fr-reranker-plugin[onnx]'"
        ) from error


def padded_inputs(batch: Sequence[EncodedPair], *, pad_token_id: int) -> dict[str, np.ndarray]:
    """Give all inputs that a model may have, as int64 arrays of shape (pairs, tokens of the longest pair)."""
    import numpy as np

    shape = len(batch), max(len(pair.token_ids) for pair in batch)
    tokens = np.full(shape, pad_token_id, dtype=np.int64)
    types, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, pair in enumerate(batch):
        tokens[row, : len(pair.token_ids)] = pair.token_ids
        types[row, : len(pair.type_ids)] = pair.type_ids
        mask[row, : len(pair.token_ids)] = 1
    return {"input_ids": tokens, "attention_mask": mask, "token_type_ids": types}


def _open(path: Path) -> InferenceSession:
    """Open an exported model with as many threads as torch would use; they sleep while there is nothing to do."""
    import torch
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class of their own
        raise ModelLoadError(f"ONNX Runtime cannot read {path}: {error}; delete the file and try again") from error
