import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from engines import GatedEngine


@pytest.fixture
def gated():
    engine = GatedEngine()
    yield engine
    engine.gate.set()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(32) as executor:
        yield executor


@pytest.fixture
def copied_model(tiny_model, tmp_path):
    """A copy of the tiny model that a test may damage."""
    return shutil.copytree(tiny_model, tmp_path / "copy")
