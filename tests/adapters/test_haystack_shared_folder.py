"""Stores that name the same folder share one open index, so that a saved pipeline may both write and search."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from haystack import Document, Pipeline
from haystack.components.writers import DocumentWriter

from engines import TIMEOUT
from fr_reranker_plugin import DenseIndex, IndexFolderError
from fr_reranker_plugin.haystack import (
    FaissDocumentStore,
    FaissEmbeddingRetriever,
    FrenchDocumentEmbedder,
    FrenchTextEmbedder,
)

BIRTH = Document(content="La naissance se déclare à la mairie dans les cinq jours.")
PARK = Document(content="Le parc ferme à 20 h.")


def embedded(number: int) -> Document:
    return Document(id=f"d{number}", content=f"texte {number}", embedding=[1.0, float(number), 0.0, 0.0])


def test_what_one_store_writes_the_other_finds_until_the_last_is_closed(tmp_path):
    one, other = (FaissDocumentStore(tmp_path, embedding_dim=4) for _ in range(2))
    one.write_documents([embedded(1)])
    assert [document.id for document in other.filter_documents()] == ["d1"]
    one.save()
    one.close()
    other.write_documents([embedded(2)])
    other.save()
    other.close()
    with DenseIndex.open(tmp_path) as index:
        assert len(index) == 2


def test_a_store_that_is_forgotten_gives_the_folder_free(tmp_path):
    store = FaissDocumentStore(tmp_path, embedding_dim=4)
    store.write_documents([embedded(1)])
    store.save()
    del store
    gc.collect()
    DenseIndex.open(tmp_path).close()


def test_a_store_of_another_kind_is_refused_and_the_first_one_works_on(tmp_path):
    store = FaissDocumentStore(tmp_path, embedding_dim=4)
    store.write_documents([embedded(1)])
    with pytest.raises(IndexFolderError, match="another index than the one described: dimension 4, not 5"):
        FaissDocumentStore(tmp_path, embedding_dim=5).count_documents()
    assert store.count_documents() == 1
    store.close()


def test_many_stores_may_open_a_folder_at_once(tmp_path):
    stores = [FaissDocumentStore(tmp_path, embedding_dim=4) for _ in range(8)]
    together = threading.Barrier(len(stores))

    def write(number):
        together.wait(TIMEOUT)
        return stores[number].write_documents([embedded(number)])

    with ThreadPoolExecutor(len(stores)) as pool:
        assert list(pool.map(write, range(len(stores)))) == [1] * len(stores)
    assert {store.count_documents() for store in stores} == {8}
    for store in stores:
        store.close()
    FaissDocumentStore(tmp_path, embedding_dim=4).close()


def test_a_folder_may_be_opened_while_its_last_user_closes_it(tmp_path):
    FaissDocumentStore(tmp_path, embedding_dim=4).save()

    def use(number):
        for _ in range(20):
            store = FaissDocumentStore(tmp_path, embedding_dim=4)
            store.count_documents()
            store.close()
        return number

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, range(4))) == list(range(4))


def test_saved_pipelines_for_writing_and_for_searching_work_in_one_process(tmp_path):
    store = FaissDocumentStore(tmp_path / "index")
    indexing = Pipeline()
    indexing.add_component("embedder", FrenchDocumentEmbedder())
    indexing.add_component("writer", DocumentWriter(store))
    indexing.connect("embedder", "writer")
    searching = Pipeline()
    searching.add_component("embedder", FrenchTextEmbedder())
    searching.add_component("retriever", FaissEmbeddingRetriever(document_store=store, top_k=1))
    searching.connect("embedder", "retriever")

    indexing, searching = (Pipeline.loads(pipeline.dumps()) for pipeline in (indexing, searching))
    indexing.run({"embedder": {"documents": [BIRTH, PARK]}})
    found = searching.run({"embedder": {"text": "Sous quel délai déclarer une naissance ?"}})
    assert [document.content for document in found["retriever"]["documents"]] == [BIRTH.content]
    for pipeline in (indexing, searching):
        pipeline.close()
