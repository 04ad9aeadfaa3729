"""The losses, by name: sentence-transformers' own, and what each reads of an example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from fr_reranker_plugin.training.recipes import LossName

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder
    from torch.nn import Module


@dataclass(frozen=True, slots=True)
class LossKind:
    """What a loss reads.

    :param form: `"pairs"`: each pair for itself; `"lists"`: a question with all its passages.
    :param target: What the logits are to resemble: the labels, or a teacher's scores.
    """

    form: Literal["pairs", "lists"]
    target: Literal["labels", "scores"]


LOSS_KINDS: Final[Mapping[LossName, LossKind]] = {
    "bce": LossKind("pairs", "labels"),
    "listnet": LossKind("lists", "labels"),
    "lambda": LossKind("lists", "labels"),
    "mse": LossKind("pairs", "scores"),
    "kl": LossKind("lists", "scores"),
}
"""`bce`: binary cross-entropy. `listnet`: cross-entropy to the softmax of the labels (Cao et al. 2007). `lambda`:
LambdaLoss with the weights of NDCG-Loss2++ (Wang et al. 2018). `mse`: squared distance to the teacher's scores. `kl`:
the divergence of the softmax of the logits from that of the teacher's scores, up to a constant: ListNet on scores."""


def build_loss(name: LossName, model: CrossEncoder) -> Module:
    """Give the loss module for a model."""
    from sentence_transformers.cross_encoder import losses

    classes = {
        "bce": losses.BinaryCrossEntropyLoss,
        "listnet": losses.ListNetLoss,
        "lambda": losses.LambdaLoss,
        "mse": losses.MSELoss,
        "kl": losses.ListNetLoss,
    }
    module: Module = classes[name](model)
    return module
