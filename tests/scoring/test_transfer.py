"""What the host reads of a device has arrived there, and the other way round."""

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from encoders import build_bi_encoder
from fr_reranker_plugin import CrossEncoder, ModelSettings
from fr_reranker_plugin.retrieval.encoder_engine import EncoderEngine
from fr_reranker_plugin.scoring.forward.transfer import on_device, on_host

CPU = torch.device("cpu")


class Copies(TorchFunctionMode):
    """Notes every call that is told not to wait for a copy."""

    def __init__(self):
        super().__init__()
        self.not_waited_for = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if kwargs.get("non_blocking"):
            self.not_waited_for.append(func)
        return func(*args, **kwargs)


@pytest.mark.parametrize("kind", [CrossEncoder, EncoderEngine])
def test_without_cuda_every_copy_is_waited_for(kind, tiny_model, tmp_path):
    folder = tiny_model if kind is CrossEncoder else build_bi_encoder(tmp_path / "model")
    engine = kind.load(ModelSettings(model=str(folder), device="cpu"))
    items = [("Où voter ?", "À la mairie.")] if kind is CrossEncoder else ["Où voter ?"]
    with Copies() as copies:
        engine.launch(engine.encode(items))()
    assert copies.not_waited_for == []


def test_numbers_come_back_as_they_went():
    rows = np.array([[1, 2, 3], [4, 5, 6]])
    assert on_host(on_device(rows, CPU))().tolist() == rows.tolist()
