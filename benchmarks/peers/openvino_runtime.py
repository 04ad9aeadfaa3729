"""OpenVINO on the exported ONNX graph: length-sorted batches of 32, in f32 or bf16."""

from __future__ import annotations

import openvino

from benchmarks.peers.length_sorted import Ids, LengthSorted
from benchmarks.peers.onnx_export import onnx_graph


class OpenVino(LengthSorted):
    """A compiled model for throughput on the CPU.

    :param cache: Where the exported graph lies or is written.
    :param precision: `"f32"` or `"bf16"`; left alone, OpenVINO takes bf16 where the CPU has it.
    """

    def __init__(self, folder: str, *, device: str, cache: str, precision: str = "f32", batch_size: int = 32) -> None:
        if device != "cpu":
            raise ValueError(f"this peer runs on the CPU, not on {device!r}")
        model = openvino.Core().compile_model(
            str(onnx_graph(folder, cache)), "CPU", {"INFERENCE_PRECISION_HINT": precision}
        )

        def forward(ids: Ids, mask: Ids) -> object:
            return model({"input_ids": ids, "attention_mask": mask})[0]

        super().__init__(forward, folder, batch_size=batch_size)
