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
