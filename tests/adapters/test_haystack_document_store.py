"""Haystack's own suites for document stores, in full, over an index in memory and over one in a folder."""

import math
from dataclasses import replace

import pytest
from haystack import Document
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.testing import document_store as suite
from haystack.testing import document_store_async as async_suite

from haystack_integrations.document_stores.fr_reranker import FaissDocumentStore

PRECISION = 1e-6
"""Relative: an embedding is kept in float32."""


class EqualUpToSinglePrecision:
    """Compares documents exactly, and embeddings in the precision in which they are kept."""

    @staticmethod
    def assert_documents_are_equal(received, expected):
        assert [replace(one, embedding=None) for one in received] == [replace(one, embedding=None) for one in expected]
        for one, other in zip(received, expected, strict=True):
            assert (one.embedding is None) == (other.embedding is None)
            if one.embedding is not None:
                assert math.dist(one.embedding, other.embedding) <= PRECISION * math.hypot(*other.embedding)


@pytest.fixture(params=["memory", "folder"])
def opened_store(request, tmp_path):
    folder = None if request.param == "memory" else tmp_path / "index"
    store = FaissDocumentStore(folder, embedding_dim=768, return_embedding=True)
    yield store
    store.close()


class OurStore:
    """Puts our fixture before that of the suites."""

    @pytest.fixture
    def document_store(self, opened_store):
        return opened_store


class TestSynchronous(
    OurStore,
    EqualUpToSinglePrecision,
    suite.DocumentStoreBaseExtendedTests,
    suite.CountDocumentsByFilterTest,
    suite.CountUniqueMetadataByFilterTest,
    suite.GetMetadataFieldsInfoTest,
    suite.GetMetadataFieldMinMaxTest,
    suite.GetMetadataFieldUniqueValuesTest,
):
    def test_write_documents(self, document_store):
        document = Document(content="La mairie ouvre à 9 h.")
        assert document_store.write_documents([document]) == 1
        with pytest.raises(DuplicateDocumentError, match=document.id):
            document_store.write_documents([document])
        self.assert_documents_are_equal(document_store.filter_documents(), [document])


class TestAsynchronous(
    OurStore,
    EqualUpToSinglePrecision,
    async_suite.CountDocumentsAsyncTest,
    async_suite.CountDocumentsByFilterAsyncTest,
    async_suite.CountUniqueMetadataByFilterAsyncTest,
    async_suite.DeleteAllAsyncTest,
    async_suite.DeleteByFilterAsyncTest,
    async_suite.DeleteDocumentsAsyncTest,
    async_suite.FilterDocumentsAsyncTest,
    async_suite.GetMetadataFieldMinMaxAsyncTest,
    async_suite.GetMetadataFieldsInfoAsyncTest,
    async_suite.GetMetadataFieldUniqueValuesAsyncTest,
    async_suite.UpdateByFilterAsyncTest,
    async_suite.WriteDocumentsAsyncTest,
):
    async def test_write_documents_async(self, document_store):
        document = Document(content="La mairie ouvre à 9 h.")
        assert await document_store.write_documents_async([document]) == 1
        with pytest.raises(DuplicateDocumentError, match=document.id):
            await document_store.write_documents_async([document])
        self.assert_documents_are_equal(await document_store.filter_documents_async(), [document])


def test_no_class_of_the_suites_is_left_out():
    for module, ours in ((suite, TestSynchronous), (async_suite, TestAsynchronous)):
        classes = [value for name, value in vars(module).items() if name.endswith(("Test", "Tests"))]
        assert len(classes) > 10
        assert all(issubclass(ours, theirs) for theirs in classes if theirs.__module__ == module.__name__)


@pytest.mark.parametrize(
    ("policy", "written", "content"),
    [(DuplicatePolicy.SKIP, 1, "premier"), (DuplicatePolicy.OVERWRITE, 1, "second")],
)
def test_an_id_that_stands_twice_in_one_call_follows_the_policy(opened_store, policy, written, content):
    twice = [Document(id="1", content="premier"), Document(id="1", content="second")]
    assert opened_store.write_documents(twice, policy=policy) == written
    assert [document.content for document in opened_store.filter_documents()] == [content]


def test_an_id_that_stands_twice_fails_and_writes_nothing_by_default(opened_store):
    with pytest.raises(DuplicateDocumentError):
        opened_store.write_documents([Document(id="1", content="a"), Document(id="1", content="b")])
    assert opened_store.count_documents() == 0
