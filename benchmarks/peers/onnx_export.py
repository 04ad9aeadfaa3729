"""A checkpoint as a plain ONNX graph, fp32 or dynamically quantised, made once."""

from __future__ import annotations

import warnings
from pathlib import Path


def onnx_graph(folder: str, cache: str, *, int8: bool = False) -> Path:
    """Give the path of the graph, exporting it at the first call.

    :param int8: `quantize_dynamic` as ONNX Runtime's documentation shows it, all defaults.
    """
    out = Path(cache) / f"{Path(folder).name}-onnx"
    graph = out / ("int8.onnx" if int8 else "float32.onnx")
    if graph.is_file():
        return graph
    out.mkdir(parents=True, exist_ok=True)
    part = graph.with_suffix(".part.onnx")
    if int8:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(str(onnx_graph(folder, cache)), str(part), weight_type=QuantType.QInt8)
    else:
        _export(folder, part)
    return part.rename(graph)


def _export(folder: str, graph: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    class LogitsOnly(torch.nn.Module):
        """The checkpoint as a function of two tensors."""

        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="eager"
            ).eval()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    ids = torch.arange(5, 5 + 24).reshape(2, 12)
    mask = torch.ones_like(ids)
    mask[1, 8:] = 0
    names = ["input_ids", "attention_mask"]
    axes = {name: {0: "pairs", 1: "tokens"} for name in names}
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, about what does not change between texts
        torch.onnx.export(
            LogitsOnly(), (ids, mask), str(graph), input_names=names, output_names=["logits"],
            dynamic_axes=axes, opset_version=17, dynamo=False,
        )  # fmt: skip
