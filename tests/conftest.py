"""Fixtures that several test files share: small real things."""

import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

if beside := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):  # read when torch is imported, below
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // beside)))

from checkpoints import build_cross_encoder
from fr_reranker_plugin import CrossEncoder, ModelSettings, live_scorers

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # read when haystack is imported; it would ask the network


@pytest.fixture(scope="session")
def checkpoint_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the folder of a tiny cross-encoder of a family, built once per test run."""
    built: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in built:
            built[family] = build_cross_encoder(tmp_path_factory.mktemp(family), family)
        return built[family]

    return folder


@pytest.fixture(scope="session")
def tiny_model(checkpoint_of: Callable[[str], Path]) -> str:
    """The folder of a tiny XLM-RoBERTa cross-encoder, as a model name."""
    return str(checkpoint_of("xlm-roberta"))


@pytest.fixture
def no_model_left() -> Iterator[None]:
    """Assert that the test let go of every shared model it loaded."""
    gc.collect()
    for thread in threading.enumerate():  # what an earlier test dropped without `close` is freed in a thread
        if thread.name == "fr-reranker-release":
            thread.join(timeout=30)
    before = live_scorers()
    yield
    assert live_scorers() == before


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[ModelSettings]:
    """The settings of every model that is loaded during the test."""
    loaded: list[ModelSettings] = []
    load = CrossEncoder.load

    def counted(settings: ModelSettings) -> CrossEncoder:
        loaded.append(settings)
        return load(settings)

    monkeypatch.setattr(CrossEncoder, "load", counted)
    return loaded
