"""Turn a checkpoint into an ONNX file, in float32 or int8, and measure how close its logits are to torch's."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from fr_reranker_plugin.errors import MissingDependencyError, ModelLoadError
from fr_reranker_plugin.scoring.forward.precision import calibration_pairs
from fr_reranker_plugin.scoring.loading import load_weights
from fr_reranker_plugin.scoring.onnx_session import OnnxSession, padded_inputs
from fr_reranker_plugin.scoring.onnx_smoothing import ENCODERS, smooth_encoder
from fr_reranker_plugin.scoring.scorer import Pair

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

    from fr_reranker_plugin.scoring.settings import ModelSettings
    from fr_reranker_plugin.scoring.tokenization import PairTokenizer

OPSET: Final = 17
"""The first with a layer normalisation of its own, which ONNX Runtime computes in one step."""

MODEL_FILE: Final = "model.onnx"
FLOAT32_TOLERANCE: Final = 1e-4
"""How far a float32 logit may be from torch's."""

_LARGEST: Final = 2_000_000_000
"""Bytes of weights that fit into one ONNX file, whose format ends at 2 GiB."""

_PROBES: Final[Sequence[Pair]] = (
    ("Où déclarer une naissance ?", "La déclaration de naissance se fait à la mairie, dans les cinq jours."),
    ("Où déclarer une naissance ?", "Le train de midi s'arrête à Nîmes."),
    ("Que veut dire <pad> ?", "Le mot <pad> </s> [SEP] remplit une phrase."),
    ("Quel préavis pour un locataire ?", "Le locataire donne congé par lettre recommandée. " * 100),
    ("", ""),
)


def export(
    folder: Path, config: PretrainedConfig, tokenizer: PairTokenizer, settings: ModelSettings, into: Path
) -> float:
    """Write `model.onnx` into a folder.

    :param folder: The checkpoint.
    :param settings: `dtype` is used: `"float32"` or `"int8"`.
    :returns: The largest difference to torch's float32 logits, on a few French pairs.
    :raises ModelLoadError: If the weights are too large, or a float32 logit is further from torch's than 1e-4.
    :raises MissingDependencyError: If onnx is not installed.
    """
    from transformers import AutoModelForSequenceClassification

    _check_onnx()
    in_float32 = replace(settings, device="cpu", dtype="float32", backend="torch")
    model = load_weights(  # eager attention is plain products and a softmax, which ONNX Runtime fuses by itself
        AutoModelForSequenceClassification, folder, config, in_float32, attn_implementation="eager"
    )
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    if size > _LARGEST:
        raise ModelLoadError(f"{folder} has {size:,} bytes of weights; an ONNX file holds 2 GiB; use backend='torch'")
    path = into / MODEL_FILE
    if settings.dtype == "int8":
        smooth_encoder(model, (_torch_inputs(tokenizer, [pair]) for pair in calibration_pairs()))
    _trace(model, tokenizer, path)
    if settings.dtype == "int8":
        _quantise(path)
    difference = _largest_difference(model, tokenizer, path)
    if settings.dtype == "float32" and not difference <= FLOAT32_TOLERANCE:
        raise ModelLoadError(
            f"the exported model of {folder} is {difference:.2g} away from torch in logit, and {FLOAT32_TOLERANCE:g} "
            "is allowed; use backend='torch', and please report the model"
        )
    return difference


def _check_onnx() -> None:
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("exporting needs onnx: pip install 'fr-reranker-plugin[onnx]'") from error


def _trace(model: PreTrainedModel, tokenizer: PairTokenizer, path: Path) -> None:
    """Write the float32 model. The exporter that is older than `dynamo=True` needs no further package."""
    import torch

    inputs = _torch_inputs(tokenizer, _PROBES[:2])
    names = list(inputs)

    class OneLogit(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *values: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(**dict(zip(names, values, strict=True))).logits
            return logits.squeeze(-1)

    axes = {name: {0: "pairs", 1: "tokens"} for name in names} | {"logits": {0: "pairs"}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of deprecation, and of every Python value that it takes as constant
        torch.onnx.export(
            OneLogit().eval(),  # the exporter puts the model back into the mode of this outer module: no dropout
            tuple(inputs.values()),
            str(path),
            input_names=names,
            output_names=["logits"],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )


def _quantise(path: Path) -> None:
    """Make products of the encoder int8, with a scale per output channel; all else stays float32.

    That is the embeddings, the head, and of each layer the product that narrows what the activation function gave: a
    few of its input channels are so large that one range for all costs more than the other products together. Seven
    bits of weight: on a CPU without VNNI, eight overflow when ONNX Runtime sums them in 16 bits.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    model = onnx.load(path)
    narrowing = {weight.name for weight in model.graph.initializer if weight.dims and weight.dims[0] > weight.dims[-1]}
    encoder = [  # the quantiser makes products of the head's Gemm nodes, and would round those too
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul"
        and any(f"/{part}/" in node.name for part in ENCODERS)
        and not narrowing.intersection(node.input)
    ]
    add_pre_process_metadata(model)  # says that there is nothing to warn about
    with _untouched_logging():
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=encoder,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )


@contextmanager
def _untouched_logging() -> Iterator[None]:
    """Keep `logging.info(…)` in a library from giving the program's root logger a handler."""
    nothing = logging.NullHandler()
    logging.getLogger().addHandler(nothing)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(nothing)


def _largest_difference(model: PreTrainedModel, tokenizer: PairTokenizer, path: Path) -> float:
    import torch

    session = OnnxSession.open(path, pad_token_id=tokenizer.pad_token_id)
    found = session.logits(tokenizer.encode(_PROBES))
    with torch.inference_mode():
        logits = model(**_torch_inputs(tokenizer, _PROBES)).logits.squeeze(-1)
    expected = cast("list[float]", logits.tolist())
    return max(abs(one - other) for one, other in zip(found, expected, strict=True))


def _torch_inputs(tokenizer: PairTokenizer, pairs: Sequence[Pair]) -> dict[str, Any]:
    import torch

    inputs = padded_inputs(tokenizer.encode(pairs), pad_token_id=tokenizer.pad_token_id)
    if not tokenizer.uses_type_ids:
        del inputs["token_type_ids"]
    return {name: torch.from_numpy(values) for name, values in inputs.items()}
