"""ONNX Runtime as its documentation shows it: exported graph, dynamic int8, length-sorted batches of 32."""

from __future__ import annotations

import onnxruntime

from benchmarks.peers.length_sorted import Ids, LengthSorted
from benchmarks.peers.onnx_export import onnx_graph


class OnnxRuntime(LengthSorted):
    """A CPU session with default options over the exported graph.

    :param cache: Where the exported graph lies or is written.
    :param int8: Quantise the weights dynamically, with the defaults of `quantize_dynamic`.
    """

    def __init__(self, folder: str, *, device: str, cache: str, int8: bool = False, batch_size: int = 32) -> None:
        if device != "cpu":
            raise ValueError(f"this peer runs on the CPU, not on {device!r}")
        graph = onnx_graph(folder, cache, int8=int8)
        session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])

        def forward(ids: Ids, mask: Ids) -> object:
            return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

        super().__init__(forward, folder, batch_size=batch_size)
