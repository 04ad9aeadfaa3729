"""When a store is opened and closed by the pipelines around it, and what is left of its documents then."""

import pytest
from haystack import Document, Pipeline
from haystack.components.retrievers import FilterRetriever
from haystack.components.writers import DocumentWriter
from haystack.document_stores.types import DuplicatePolicy

from fr_reranker_plugin import DenseIndex, EncoderIdentity, IndexFolderError
from fr_reranker_plugin.haystack import (
    FaissDocumentStore,
    FaissEmbeddingRetriever,
    FrenchCrossEncoderRanker,
    FrenchRetrieveAndRerank,
)
from haystack_integrations.document_stores.fr_reranker.synchronous import SynchronousStore

DOCUMENTS = [Document(id="a", content="a", embedding=[1.0, 0.0]), Document(id="b", content="b", embedding=[0.0, 1.0])]
LOST = "changes that were not saved"


def pipeline_of(component):
    pipeline = Pipeline()
    pipeline.add_component("only", component)
    return pipeline


def searching(store):
    return pipeline_of(FaissEmbeddingRetriever(store)), {"only": {"query_embedding": [1.0, 0.0]}}


def writing(store):
    return pipeline_of(DocumentWriter(store, policy=DuplicatePolicy.SKIP)), {"only": {"documents": DOCUMENTS}}


def filtering(store):
    return pipeline_of(FilterRetriever(store)), {"only": {}}


@pytest.mark.parametrize("use", [writing, filtering, searching])
async def test_a_store_in_memory_keeps_its_documents_when_a_pipeline_is_closed(use):
    store = FaissDocumentStore(embedding_dim=2)
    store.write_documents(DOCUMENTS)
    pipeline, inputs = use(store)
    pipeline.run(inputs)
    pipeline.close()
    await pipeline.close_async()
    assert store.count_documents() == 2
    assert [found.id for found in store.embedding_retrieval([1.0, 0.0])] == ["a", "b"]


@pytest.mark.parametrize("use", [writing, filtering, searching])
async def test_a_folder_is_free_when_a_pipeline_is_closed(use, tmp_path, caplog):
    store = FaissDocumentStore(tmp_path, embedding_dim=2, save_on_write=True)
    store.write_documents(DOCUMENTS)
    pipeline, inputs = use(store)
    pipeline.run(inputs)
    pipeline.close()
    with DenseIndex.open(tmp_path) as index:
        assert len(index) == 2
    pipeline.run(inputs)
    await pipeline.close_async()
    DenseIndex.open(tmp_path).close()
    assert LOST not in caplog.text


def test_closing_tells_what_was_not_saved(tmp_path, caplog):
    store = FaissDocumentStore(tmp_path, embedding_dim=2)
    other = FaissDocumentStore(tmp_path, embedding_dim=2)
    other.count_documents()
    pipeline, inputs = writing(store)
    pipeline.run(inputs)
    pipeline.close()
    assert LOST not in caplog.text
    other.close()
    assert f"{tmp_path} is closed with {LOST}" in caplog.text
    assert "documents: 0" in caplog.text
    assert store.count_documents() == 0


def test_closing_is_silent_where_nothing_was_changed(tmp_path, caplog):
    store = FaissDocumentStore(tmp_path, embedding_dim=2)
    store.write_documents(DOCUMENTS)
    store.save()
    assert store.write_documents(DOCUMENTS, DuplicatePolicy.SKIP) == 0
    store.delete_documents(["unknown"])
    store.update_by_filter({"field": "id", "operator": "==", "value": "unknown"}, {"year": 2024})
    store.close()
    assert LOST not in caplog.text


@pytest.mark.parametrize("change", ["write", "update", "delete"])
def test_every_change_is_one_that_closing_tells_of(tmp_path, caplog, change):
    store = FaissDocumentStore(tmp_path, embedding_dim=2)
    store.write_documents(DOCUMENTS[:1])
    store.save()
    if change == "write":
        store.write_documents(DOCUMENTS[1:])
    elif change == "update":
        store.update_by_filter({"field": "id", "operator": "==", "value": "a"}, {"year": 2024})
    else:
        store.delete_all_documents()
    store.close()
    assert LOST in caplog.text


async def test_warming_up_opens_the_store_and_tells_if_it_cannot(tmp_path):
    pipeline, _ = searching(FaissDocumentStore(tmp_path / "none", embedding_dim=2, read_only=True))
    with pytest.raises(IndexFolderError, match="none"):
        pipeline.warm_up()
    with pytest.raises(IndexFolderError, match="none"):
        await pipeline.warm_up_async()


async def test_a_question_of_another_encoder_than_that_of_the_store_is_refused(tmp_path, tiny_model):
    encoder = EncoderIdentity(model="another", max_length=512, dimension=384)
    FaissDocumentStore(tmp_path, encoder=encoder, save_on_write=True).save()
    store = FaissDocumentStore.load(tmp_path, read_only=True)
    search = FrenchRetrieveAndRerank(document_store=store, ranker=FrenchCrossEncoderRanker(model=tiny_model))
    for refused in (search.warm_up, lambda: search.run(query="Où voter ?")):
        with pytest.raises(IndexFolderError, match="another encoder"):
            refused()
    for refused in (search.warm_up_async, lambda: search.run_async(query="Où voter ?")):
        with pytest.raises(IndexFolderError, match="another encoder"):
            await refused()
    search.close()


def test_every_method_of_a_store_has_an_asynchronous_twin():
    waiting = {name for name, value in vars(SynchronousStore).items() if callable(value) and not name.startswith("_")}
    twins = {name.removesuffix("_async") for name in vars(FaissDocumentStore) if name.endswith("_async")}
    assert waiting | {"warm_up", "close"} == twins


async def test_a_reader_follows_its_writer_without_blocking(tmp_path):
    store = FaissDocumentStore(tmp_path, embedding_dim=2, save_on_write=True)
    store.write_documents(DOCUMENTS[:1])
    reader = FaissDocumentStore.load(tmp_path, read_only=True)
    assert (await reader.count_documents_async(), await reader.reload_async()) == (1, False)
    store.write_documents(DOCUMENTS[1:])
    assert (await reader.reload_async(), await reader.count_documents_async()) == (True, 2)
    reader.close()
    store.close()
