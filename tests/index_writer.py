"""An index whose contents follow from one number, and processes that write and read it.

Each step adds two documents, deletes the two of the step before last, and replaces those that are always there. The
text of a document is the seed of its vector, so that a mixture of two steps shows.
"""

import os
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from fr_reranker_plugin import DenseIndex, IndexLockedError, IndexSettings, StoredDocument
from unit_vectors import unit_vectors

DIMENSION = 16
ALWAYS = 5


def vector_of(document: StoredDocument) -> np.ndarray:
    return unit_vectors(1, DIMENSION, seed=int(document.text))[0]


def vectors_of(documents: list[StoredDocument]) -> np.ndarray:
    return np.stack([vector_of(document) for document in documents])


def born_at(step: int) -> list[StoredDocument]:
    return [StoredDocument(f"{step}-{place}", str(100 * step + 50 + place)) for place in range(2)]


def always_at(step: int) -> list[StoredDocument]:
    return [StoredDocument(f"always-{place}", str(100 * step + place), {"step": step}) for place in range(ALWAYS)]


def contents_at(step: int) -> list[StoredDocument]:
    """What is in the index after a step, in no order."""
    born = [document for each in (step - 1, step) if each > 0 for document in born_at(each)]
    return [*always_at(step), *born] if step else []


def take_step(index: DenseIndex, step: int) -> None:
    born, always = born_at(step), always_at(step)
    index.add(born, vectors_of(born))
    index.delete([document.id for document in born_at(step - 2)])
    index.upsert(always, vectors_of(always))


def step_of(index: DenseIndex) -> int:
    """Tell at which step an index is, after a look at everything in it."""
    found = list(index.documents())
    step = next((document.metadata["step"] for document in found if document.metadata), 0)
    assert {document.id: document for document in found} == {document.id: document for document in contents_at(step)}
    if found:
        vectors = vectors_of(found)
        assert np.array_equal(index.vectors([document.id for document in found]), vectors)
        assert [hits[0].document for hits in index.search(vectors, 1)] == found
        assert all(len(hits) == len(found) for hits in index.search(vectors, 100))
    return step


def write_until_killed(folder: Path, settings: IndexSettings, saves: Path, started: Connection) -> None:
    """Go on from what is saved, and put a byte into a file after each save."""
    begun = (folder / "manifest.json").exists()
    index = DenseIndex.open(folder) if begun else DenseIndex.create(folder, settings=settings)
    step = step_of(index)
    file = os.open(saves, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    started.send(step)
    for following in count(step + 1):
        take_step(index, following)
        index.save()
        os.write(file, b".")


def read_when_asked(folder: Path, memory_map: bool, questions: Connection) -> None:
    """Answer each message by whether there was something newer, and the step; end at `None`."""
    with DenseIndex.open(folder, read_only=True, memory_map=memory_map) as index:
        questions.send((False, step_of(index)))
        while questions.recv() is not None:
            questions.send((index.reload(), step_of(index)))


def try_to_write(folder: Path, answer: Connection) -> None:
    """Tell how opening is refused; `None` if it is not."""
    try:
        DenseIndex.open(folder).close()
    except IndexLockedError as error:
        answer.send(str(error))
    else:
        answer.send(None)
