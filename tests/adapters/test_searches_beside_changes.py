"""Searches answer while changes wait for their turn, however many wait, in both frameworks."""

import asyncio

from haystack import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from adapters.haystack_documents import TIMEOUT
from fr_reranker_plugin.haystack import FaissDocumentStore
from fr_reranker_plugin.langchain import FaissVectorStore

MANY = 40


async def answer_beside(search, changes):
    waiting = [asyncio.create_task(change) for change in changes]
    await asyncio.sleep(0)  # they go first
    found = await asyncio.wait_for(search, TIMEOUT / 6)
    assert not any(change.done() for change in waiting)
    return found, waiting


async def test_searches_of_a_document_store_do_not_wait_for_its_changes():
    store = FaissDocumentStore(embedding_dim=2)
    store.write_documents([Document(id="known", content="a", embedding=[1.0, 0.0])])
    known = {"field": "id", "operator": "==", "value": "known"}
    with store._one_change:  # somebody else's change takes its time
        writes = (store.write_documents_async([Document(id=f"{n}", content="b")]) for n in range(MANY))
        others = (store.delete_documents_async(["unknown"]), store.update_by_filter_async(known, {"year": 2024}))
        found, waiting = await answer_beside(store.embedding_retrieval_async([1.0, 0.0]), [*writes, *others])
    assert [document.id for document in found] == ["known"]
    await asyncio.wait_for(asyncio.gather(*waiting), TIMEOUT)
    assert store.count_documents() == 1 + MANY


async def test_searches_of_a_vector_store_do_not_wait_for_its_changes():
    embedding = DeterministicFakeEmbedding(size=8)
    store = FaissVectorStore.from_texts(["un", "deux"], embedding, ids=["one", "two"])
    with store.index._store.changing():
        changes = (store.adelete([name]) for name in ["two", *map(str, range(MANY))])
        search = store.asimilarity_search_by_vector(embedding.embed_query("deux"), k=1)
        found, waiting = await answer_beside(search, changes)
    assert [document.id for document in found] == ["two"]
    await asyncio.wait_for(asyncio.gather(*waiting), TIMEOUT)
    assert len(store.index) == 1
