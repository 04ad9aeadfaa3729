"""From a question to documents in Haystack: embedders, store, retriever, and all of it with the ranker."""

import copy
import inspect
import math

import numpy as np
import pytest
from haystack import Document, Pipeline
from haystack.components.preprocessors import DocumentSplitter, RecursiveDocumentSplitter
from haystack.components.writers import DocumentWriter
from haystack.dataclasses import ByteStream, SparseEmbedding
from haystack.errors import FilterError
from haystack.tools import ComponentTool
from haystack.utils import ComponentDevice, Secret

from adapters.haystack_documents import QUESTION, french_documents
from fr_reranker_plugin import DenseIndex, EncoderIdentity, IndexFolderError, IndexLockedError, SettingsError
from fr_reranker_plugin.haystack import (
    FaissDocumentStore,
    FaissEmbeddingRetriever,
    FrenchCrossEncoderRanker,
    FrenchDocumentEmbedder,
    FrenchRetrieveAndRerank,
    FrenchTextEmbedder,
)
from fr_reranker_plugin.retrieval.text_encoder import TextEncoder
from unit_vectors import unit_vectors

EVEN = {"field": "meta.even", "operator": "==", "value": True}
ODD = {"field": "meta.even", "operator": "==", "value": False}


def numbered(count, dimension=8):
    vectors = unit_vectors(count, dimension)
    return [
        Document(id=str(n), content=f"texte {n}", meta={"number": n, "even": n % 2 == 0}, embedding=vectors[n].tolist())
        for n in range(count)
    ]


@pytest.fixture
def store():
    with_vectors = FaissDocumentStore(embedding_dim=8)
    with_vectors.write_documents(numbered(100))
    yield with_vectors
    with_vectors.close()


@pytest.fixture(scope="module")
def french_store():
    """The six sentences, embedded by the small bi-encoder of this package."""
    store = FaissDocumentStore()
    pipeline = Pipeline()
    pipeline.add_component("embedder", FrenchDocumentEmbedder())
    pipeline.add_component("writer", DocumentWriter(store))
    pipeline.connect("embedder", "writer")
    pipeline.run({"embedder": {"documents": french_documents()}})
    yield store
    store.close()


def test_the_nearest_come_first_with_their_cosines_and_without_embeddings(store):
    query = unit_vectors(1, 8, seed=5)[0]
    found = store.embedding_retrieval((3 * query).tolist(), top_k=10)
    cosines = unit_vectors(100, 8) @ query
    best = np.argsort(-cosines)[:10]
    assert [document.id for document in found] == [str(n) for n in best]
    assert [document.score for document in found] == pytest.approx(cosines[best].tolist(), abs=1e-5)
    assert all(-1 <= document.score <= 1 and document.embedding is None for document in found)


def test_embeddings_come_only_when_asked_for_and_in_their_own_length():
    store = FaissDocumentStore(embedding_dim=2)
    store.write_documents([Document(content="a", embedding=[3.0, 4.0])])
    retriever = FaissEmbeddingRetriever(document_store=store)
    assert retriever.run([1.0, 0.0])["documents"][0].embedding is None
    (found,) = retriever.run([1.0, 0.0], return_embedding=True)["documents"]
    assert found.embedding == pytest.approx([3.0, 4.0], rel=1e-6)
    assert found.score == pytest.approx(0.6, abs=1e-6)


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_a_filtered_search_finds_as_many_as_match(kind):
    store = FaissDocumentStore(embedding_dim=8, kind=kind)
    documents = numbered(500)
    store.write_documents(documents)
    filters = {"field": "meta.number", "operator": "in", "value": list(range(0, 500, 50))}
    found = store.embedding_retrieval(documents[7].embedding, filters=filters, top_k=5)
    assert len(found) == 5
    assert all(document.meta["number"] % 50 == 0 for document in found)


def test_a_document_without_an_embedding_is_counted_and_filtered_and_never_found(store):
    store.write_documents([Document(id="plain", content="sans vecteur", meta={"even": True})])
    assert store.count_documents() == 101
    assert "plain" in {document.id for document in store.filter_documents(EVEN)}
    assert "plain" not in {document.id for document in store.embedding_retrieval([1.0] * 8, top_k=200)}


def test_everything_else_of_a_document_comes_back():
    document = Document(
        blob=ByteStream(b"\x00\xff", meta={"page": 1}, mime_type="image/png"),
        meta={"title": "Acte", "tags": ["a", {"b": None}]},
        score=0.25,
        sparse_embedding=SparseEmbedding(indices=[1, 5], values=[0.5, 1.0]),
    )
    store = FaissDocumentStore(embedding_dim=2)
    store.write_documents([document, Document(content="", id="empty")])
    assert store.filter_documents() == [document, Document(content="", id="empty")]
    assert set(store.get_metadata_fields_info()) == {"title", "tags"}


@pytest.mark.parametrize(
    "splitter",
    [
        DocumentSplitter(split_by="word", split_length=5, split_overlap=2),
        RecursiveDocumentSplitter(split_length=5, split_overlap=2, split_unit="word", separators=[" "]),
    ],
    ids=["words", "recursive"],
)
def test_what_the_splitters_of_haystack_make_can_be_stored(splitter):
    parts = splitter.run([Document(content="un deux trois quatre cinq six sept huit neuf dix onze")])["documents"]
    overlap = parts[0].meta["_split_overlap"]
    store = FaissDocumentStore(embedding_dim=2)
    assert store.write_documents(parts) == len(parts) > 1
    kept = store.filter_documents()
    assert [part.id for part in kept] == [part.id for part in parts]
    assert kept[0].meta["_split_overlap"] == [{**one, "range": list(one["range"])} for one in overlap]
    assert isinstance(overlap[0]["range"], tuple)


def test_metadata_that_is_set_may_hold_tuples_as_well():
    store = FaissDocumentStore(embedding_dim=2)
    store.write_documents([Document(content="a")])
    only = {"field": "content", "operator": "==", "value": "a"}
    assert store.update_by_filter(only, {"ranges": ({"range": (0, 12)},)}) == 1
    (found,) = store.filter_documents()
    assert (found.content, found.meta) == ("a", {"ranges": [{"range": [0, 12]}]})


@pytest.mark.parametrize(
    "wrong",
    [
        Document(content="a", embedding=[1.0, 0.0, 0.0]),
        Document(content="a", embedding=[0.0, 0.0]),
        Document(content="a", embedding=[math.nan, 1.0]),
        Document(content="a", embedding=[[0.6, 0.8]]),
        Document(content="a", embedding=["0.6", "0.8"]),
        Document(content="a", embedding=[None, 1.0]),
        Document(content="a", meta={"__haystack__": 1}),
        Document(content="a", meta={"when": {1, 2}}),
    ],
    ids=["dimension", "zeros", "nan", "nested", "strings", "none", "reserved key", "no JSON"],
)
def test_what_cannot_be_stored_is_refused_and_nothing_is_written(wrong):
    store = FaissDocumentStore(embedding_dim=2)
    with pytest.raises(SettingsError):
        store.write_documents([Document(content="bon"), wrong])
    assert store.count_documents() == 0


def test_a_saved_folder_is_loaded_with_its_settings_and_read_beside_its_writer(tmp_path):
    store = FaissDocumentStore(tmp_path / "index", embedding_dim=8, kind="hnsw", hnsw_neighbours=16)
    store.write_documents(numbered(20))
    store.save()
    reader = FaissDocumentStore.load(tmp_path / "index", read_only=True)
    assert (reader.embedding_dim, reader.kind, reader.hnsw_neighbours) == (8, "hnsw", 16)
    assert reader.filter_documents() == store.filter_documents()
    store.delete_documents(["0"])
    store.save()
    assert (reader.count_documents(), reader.reload(), reader.count_documents()) == (20, True, 19)
    with pytest.raises(IndexLockedError):
        DenseIndex.open(tmp_path / "index")
    reader.close()
    store.close()
    assert store.count_documents() == 19
    store.close()


def test_a_folder_of_another_dimension_kind_or_encoder_is_refused(tmp_path):
    encoder = EncoderIdentity(model="a", max_length=512, query_prefix="query: ", dimension=8)
    store = FaissDocumentStore(tmp_path, embedding_dim=8, encoder=encoder, save_on_write=True)
    store.write_documents(numbered(3))
    store.close()
    other = EncoderIdentity(model="b", max_length=512, query_prefix="query: ", dimension=8)
    for options in ({"embedding_dim": 9}, {"kind": "hnsw"}, {"encoder": other}):
        wrong = FaissDocumentStore(tmp_path, **{"embedding_dim": 8, **options})
        with pytest.raises(IndexFolderError):
            wrong.count_documents()
    assert FaissDocumentStore.load(tmp_path, read_only=True).count_documents() == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"save_on_write": True}, "save_on_write=True needs a folder"),
        ({"read_only": True}, "read_only=True needs a folder"),
        ({"memory_map": True}, "memory_map=True needs read_only=True"),
        ({"folder": "index", "memory_map": True}, "memory_map=True needs read_only=True"),
        ({"encoder": {"model": "a", "dimension": 2}}, "max_length and dimension are needed.*got the fields model, dim"),
        ({"encoder": {"model": "a", "max_length": 9, "dimension": 2, "size": 1}}, "got the fields .*, size"),
        ({"encoder": {}}, "got the fields of an empty one"),
        ({"encoder": "a"}, "encoder must be an EncoderIdentity"),
    ],
    ids=str,
)
def test_options_that_could_only_fail_later_are_refused_when_the_store_is_made(options, says):
    with pytest.raises(SettingsError, match=says):
        FaissDocumentStore(**options)


def test_a_store_is_saved_by_its_folder_and_not_opened_when_made(tmp_path):
    store = FaissDocumentStore(tmp_path / "index", encoder=EncoderIdentity(model="a", max_length=9, dimension=384))
    saved = store.to_dict()
    names = [*inspect.signature(FaissDocumentStore.__init__).parameters][1:]
    assert list(saved["init_parameters"]) == names
    assert saved["init_parameters"]["folder"] == str(tmp_path / "index")
    assert FaissDocumentStore.from_dict(saved).to_dict() == saved
    assert list(tmp_path.iterdir()) == []


def test_the_retriever_checks_its_arguments_and_merges_filters(store):
    retriever = FaissEmbeddingRetriever(document_store=store, filters=EVEN, top_k=100, filter_policy="merge")
    below = {"field": "meta.number", "operator": "<", "value": 10}
    assert {d.meta["number"] for d in retriever.run([1.0] * 8, filters=below)["documents"]} == {0, 2, 4, 6, 8}
    assert len(retriever.run([1.0] * 8, top_k=3)["documents"]) == 3
    for arguments in ({"top_k": 0}, {"top_k": True}, {"query_embedding": [0.0] * 8}, {"query_embedding": [1.0]}):
        with pytest.raises(ValueError, match="top_k|query_embedding"):
            retriever.run(**{"query_embedding": [1.0] * 8, **arguments})
    with pytest.raises(FilterError):
        retriever.run([1.0] * 8, filters={"field": "meta.number", "operator": "~", "value": 1})
    with pytest.raises(TypeError, match="FaissDocumentStore"):
        FaissEmbeddingRetriever(document_store=object())


@pytest.mark.parametrize("own", [EVEN, {"operator": "AND", "conditions": [EVEN]}], ids=["comparison", "logic"])
@pytest.mark.parametrize(
    "given",
    [
        {"operator": "OR", "conditions": [EVEN, ODD]},
        {"operator": "NOT", "conditions": [{"operator": "AND", "conditions": [EVEN, ODD]}]},
        {"field": "meta.even", "operator": "!=", "value": "neither"},
        ODD,
    ],
    ids=["or", "not", "same field", "opposite"],
)
def test_no_filter_of_a_call_gets_round_that_of_a_retriever_that_merges(store, own, given):
    retriever = FaissEmbeddingRetriever(document_store=store, filters=own, top_k=100, filter_policy="merge")
    found = retriever.run([1.0] * 8, filters=given)["documents"]
    assert all(document.meta["even"] for document in found)
    assert len(found) == (0 if given is ODD else 50)


def test_embedders_put_the_prefix_of_each_role_before_the_text_and_leave_documents_alone():
    encoder = TextEncoder.load()
    documents = [Document(content="Le parc ferme.", meta={"title": "Parc", "year": 0}), Document(meta={"n": 1})]
    before = copy.deepcopy(documents)
    embedder = FrenchDocumentEmbedder(meta_fields_to_embed=["title", "year", "none"], embedding_separator=" | ")
    full, blank = embedder.run(documents)["documents"]
    assert documents == before
    assert blank.embedding is None
    expected = encoder.encode(["passage: Parc | 0 | Le parc ferme."])[0]
    assert full.embedding == pytest.approx(expected.tolist(), abs=1e-5)
    assert full.id == documents[0].id
    asked = FrenchTextEmbedder().run("Quand ?")["embedding"]
    assert asked == pytest.approx(encoder.encode(["query: Quand ?"])[0].tolist(), abs=1e-5)


def test_every_parameter_of_an_embedder_is_saved_and_comes_back():
    options = {
        "model": "intfloat/multilingual-e5-base", "revision": "abc", "device": ComponentDevice.from_str("cuda:1"),
        "token": Secret.from_env_var("MY_TOKEN", strict=False), "dtype": "float16", "max_length": 128,
        "query_prefix": "q: ", "passage_prefix": "", "local_files_only": True, "cache_folder": "hub",
    }  # fmt: skip
    more = {"meta_fields_to_embed": ["title"], "embedding_separator": " ", "progress_bar": True}
    for kind, given in ((FrenchTextEmbedder, options), (FrenchDocumentEmbedder, {**options, **more})):
        assert list(given) == [*inspect.signature(kind.__init__).parameters][1:]
        pipeline = Pipeline()
        pipeline.add_component("embedder", kind(**given))
        loaded = Pipeline.loads(pipeline.dumps())
        assert loaded == pipeline
        assert {name: getattr(loaded.get_component("embedder"), name) for name in given} == given


def test_a_question_finds_its_answer_through_a_pipeline_that_was_saved(french_store, tmp_path):
    french_store.save(tmp_path)
    store = FaissDocumentStore.load(tmp_path, read_only=True)
    ranker = FrenchCrossEncoderRanker(model="embedded", score_meta_field="cosine")
    pipeline = Pipeline()
    pipeline.add_component("search", FrenchRetrieveAndRerank(document_store=store, ranker=ranker, retriever_top_k=4))
    loaded = Pipeline.loads(pipeline.dumps())
    assert loaded == pipeline
    found = loaded.run({"search": {"query": QUESTION, "top_k": 2}})["search"]["documents"]
    assert "plainte" in found[0].content
    assert len(found) == 2
    assert all(-1 <= document.meta["cosine"] <= 1 and document.embedding is None for document in found)


async def test_the_asynchronous_pipeline_gives_the_same_documents(french_store):
    def components():
        return FrenchRetrieveAndRerank(document_store=french_store, ranker=FrenchCrossEncoderRanker(model="embedded"))

    pipeline = Pipeline()
    pipeline.add_component("search", components())
    asked = {"query": QUESTION, "filters": {"field": "meta.number", "operator": "<", "value": 4}}
    found = (await pipeline.run_async({"search": asked}))["search"]["documents"]
    assert found == components().run(**asked)["documents"]
    assert {document.meta["number"] for document in found} == {0, 1, 2, 3}


def test_an_agent_can_use_the_search_as_a_tool(french_store):
    search = FrenchRetrieveAndRerank(document_store=french_store, ranker=FrenchCrossEncoderRanker(model="embedded"))
    with pytest.warns(UserWarning, match="not JSON serializable"):  # of every super-component
        tool = ComponentTool(component=search, name="recherche", description="Cherche dans les fiches.")
    assert tool.parameters["required"] == ["query"]
    assert "plainte" in tool.invoke(query=QUESTION, top_k=1)["documents"][0].content
