"""An index is used outside the event loop, in forked processes as well."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engines import TIMEOUT


@pytest.mark.skipif(os.name == "nt", reason="needs fork")
def test_a_forked_process_searches_and_changes_in_threads_of_its_own():
    program = f"""
import asyncio, os, signal
from fr_reranker_plugin.retrieval.index_threads import in_change_thread, in_index_thread

async def work():
    return await in_index_thread(len, "un") + await in_change_thread(len, "deux")

assert asyncio.run(work()) == 6
child = os.fork()
if child == 0:
    signal.alarm({TIMEOUT})
assert asyncio.run(work()) == 6
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT * 3, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="needs fork")
def test_a_forked_process_that_ends_leaves_an_index_to_its_parent(tmp_path: Path):
    program = f"""
import os, sys
import numpy as np
from fr_reranker_plugin import DenseIndex, IndexSettings, StoredDocument

index = DenseIndex.create({str(tmp_path / "index")!r}, settings=IndexSettings(dimension=2))
index.add([StoredDocument("a", "un")], np.eye(2, dtype=np.float32)[:1])
before = sorted(os.listdir(index_folder := {str(tmp_path / "index")!r}))
child = os.fork()
if child == 0:
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert sorted(os.listdir(index_folder)) == before
index.save()
index.close()
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT * 3, check=False)
    assert (done.returncode, done.stderr) == (0, "")
