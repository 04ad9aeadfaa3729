"""The vector store of LangChain: its own suite, scores, diversity, folders, concurrency."""

import asyncio
import datetime
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.vectorstores.utils import maximal_marginal_relevance
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from checkpoints import SENTENCES
from engines import TIMEOUT
from fr_reranker_plugin import (
    DenseIndex,
    IndexClosedError,
    IndexFolderError,
    IndexLockedError,
    IndexSettings,
    SettingsError,
)
from fr_reranker_plugin.langchain import FaissVectorStore, FrenchEmbeddings
from heartbeat import assert_loop_stays_free

QUERY = "Où demander un acte de naissance ?"
SIZE = 8


class CountedEmbedding(DeterministicFakeEmbedding):
    """Tells how many texts it was given."""

    texts: int = 0

    def embed_documents(self, texts):
        self.texts += len(texts)
        return super().embed_documents(texts)


class TestSuite(VectorStoreIntegrationTests):
    @pytest.fixture(params=["new", "loaded"])
    def vectorstore(self, request, tmp_path):
        store = FaissVectorStore(self.get_embeddings())
        if request.param == "loaded":
            store.add_texts(["a"], ids=["a"])
            store.delete(["a"])
            store.save_local(tmp_path)
            store.close()
            store = FaissVectorStore.load_local(tmp_path, self.get_embeddings())
        yield store
        store.close()


@pytest.fixture
def embedding():
    return CountedEmbedding(size=SIZE)


@pytest.fixture
def store(embedding):
    made = FaissVectorStore.from_texts(
        [f"texte {n}" for n in range(100)], embedding, [{"number": n} for n in range(100)], ids=[*map(str, range(100))]
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def french():
    made = FaissVectorStore.from_texts(SENTENCES, FrenchEmbeddings(), [{"number": n} for n in range(len(SENTENCES))])
    yield made
    made.close()


def ids_of(documents):
    return [document.id for document in documents]


def cosines_of(embedding, query="?", count=100):
    vectors = np.array(embedding.embed_documents([f"texte {n}" for n in range(count)]))
    asked = np.array(embedding.embed_query(query))
    return vectors @ asked / np.linalg.norm(vectors, axis=1) / np.linalg.norm(asked)


async def test_all_searches_find_the_nearest_with_their_cosines_best_first(store, embedding):
    cosines = cosines_of(embedding)
    best = np.argsort(-cosines)[:10]
    vector = embedding.embed_query("?")
    expected = [str(n) for n in best]
    for documents in (
        store.similarity_search("?", 10), await store.asimilarity_search("?", 10),
        store.similarity_search_by_vector(vector, 10), await store.asimilarity_search_by_vector(vector, 10),
        store.search("?", "similarity", k=10), await store.asearch("?", "similarity", k=10),
    ):  # fmt: skip
        assert ids_of(documents) == expected
        assert [document.page_content for document in documents] == [f"texte {n}" for n in best]
    for scored in (
        store.similarity_search_with_score("?", 10), await store.asimilarity_search_with_score("?", 10),
        store.similarity_search_with_score_by_vector(vector, 10),
        await store.asimilarity_search_with_score_by_vector(vector, 10),
    ):  # fmt: skip
        assert [document.id for document, _ in scored] == expected
        assert [score for _, score in scored] == pytest.approx(cosines[best].tolist(), abs=1e-5)
        assert all(type(score) is float and -1 <= score <= 1 for _, score in scored)


async def test_relevance_scores_are_in_zero_to_one_for_opposite_texts_too(store, embedding):
    cosines = cosines_of(embedding)
    assert cosines.min() < 0
    for scored in (
        store.similarity_search_with_relevance_scores("?", k=100),
        await store.asimilarity_search_with_relevance_scores("?", k=100),
    ):
        assert [score for _, score in scored] == pytest.approx(((1 + np.sort(cosines)[::-1]) / 2).tolist(), abs=1e-5)
    above = store.similarity_search_with_relevance_scores("?", k=100, score_threshold=0.7)
    assert len(above) == int((cosines >= 0.4).sum())


async def test_diverse_results_equal_the_reference(store, embedding):
    asked = np.array(embedding.embed_query("?"))
    nearest = np.argsort(-cosines_of(embedding))
    vectors = np.array(embedding.embed_documents([f"texte {n}" for n in range(100)]))
    for k, fetch_k, mult in ((4, 20, 0.5), (10, 100, 0.1), (6, 6, 0.9), (5, 2, 0.5)):
        near = nearest[: max(k, fetch_k)]
        expected = [str(near[place]) for place in maximal_marginal_relevance(asked, vectors[near].tolist(), mult, k)]
        options = {"k": k, "fetch_k": fetch_k, "lambda_mult": mult}
        for found in (
            store.max_marginal_relevance_search("?", **options),
            await store.amax_marginal_relevance_search("?", **options),
            store.max_marginal_relevance_search_by_vector(asked.tolist(), **options),
            await store.amax_marginal_relevance_search_by_vector(asked.tolist(), **options),
        ):
            assert ids_of(found) == expected


async def test_retrievers_of_all_search_types_take_filters_and_k_per_call(store, embedding):
    odd = {"number": {"$in": [*range(1, 100, 2)]}}
    similar = store.as_retriever(search_kwargs={"k": 3, "filter": odd})
    assert ids_of(similar.invoke("?")) == ids_of(store.similarity_search("?", 3, odd))
    assert len(similar.invoke("?", k=7)) == len(await similar.ainvoke("?", k=7)) == 7
    diverse = store.as_retriever(search_type="mmr", search_kwargs={"k": 5, "fetch_k": 30, "filter": odd})
    assert diverse.invoke("?") == await diverse.ainvoke("?") == store.search("?", "mmr", k=5, fetch_k=30, filter=odd)
    near = store.as_retriever(search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.7, "k": 99})
    assert near.invoke("?") == await near.ainvoke("?")
    assert len(near.invoke("?")) == int((cosines_of(embedding) >= 0.4).sum())
    assert near.tags == ["FaissVectorStore", "CountedEmbedding"]


async def test_ids_are_kept_made_where_there_are_none_and_the_last_text_of_an_id_stays(store):
    given = [Document("a", id="0"), Document("b"), Document("c", id="x"), Document("d", id="x")]
    for add in (store.add_documents, store.aadd_documents):
        ids = add(given)
        ids = await ids if asyncio.iscoroutine(ids) else ids
        assert (ids[0], ids[2:]) == ("0", ["x", "x"])
        assert [document.page_content for document in store.get_by_ids([*ids[:2], "x"])] == ["a", "b", "d"]
    assert given[1].id is None
    assert store.add_documents(given, ids=["1", "2", "3", "4"]) == ["1", "2", "3", "4"]
    assert len(store.index) == 100 + 3


async def test_deleting_takes_ids_or_everything(store):
    assert store.delete(["0", "1", "no such"])
    assert await store.adelete(["2"])
    assert store.get_by_ids(["0", "3", "1"]) == [Document("texte 3", id="3", metadata={"number": 3})]
    assert store.delete()
    assert store.similarity_search("?") == []
    empty = FaissVectorStore(DeterministicFakeEmbedding(size=2))
    assert empty.delete()
    assert empty.index is None


@pytest.mark.parametrize("ids", ["12", [1], ["1", None]])
async def test_what_is_no_list_of_ids_deletes_nothing(store, ids):
    for refused in (store.delete, store.get_by_ids):
        with pytest.raises(SettingsError, match="id"):
            refused(ids)
    with pytest.raises(SettingsError, match="id"):
        await store.adelete(ids)
    assert len(store.index) == 100


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"texts": ["a"], "metadatas": [{}, {}]}, "as many metadatas as texts, 1, but got 2"),
        ({"texts": ["a", "b"], "ids": ["1"]}, "as many ids as texts, 2, but got 1"),
        ({"texts": "un seul texte"}, "texts must be a list"),
        ({"texts": ["a"], "ids": "1"}, "ids must be a list"),
        ({"texts": ["bon", None]}, "must be a string"),
        ({"texts": ["a"], "metadatas": [None]}, "must be a dictionary, got NoneType"),
        ({"texts": ["a"], "ids": [3]}, "must be a string"),
        ({"texts": ["a"], "metadatas": [{"when": datetime.date(2024, 1, 1)}]}, "JSON values.*'when'"),
        ({"texts": ["a"], "metadatas": [{"of": (1, 2)}]}, "JSON values.*'of'"),
        ({"texts": ["a"], "metadatas": [{1: 2}]}, "JSON values"),
        ({"texts": ["a"], "batch_size": 0}, "batch_size"),
        ({"texts": ["a"], "batch": 3}, "'batch'"),
    ],
)
async def test_what_cannot_be_stored_is_refused_before_anything_is_embedded(store, embedding, arguments, said):
    before = embedding.texts
    with pytest.raises(SettingsError, match=said):
        store.add_texts(**arguments)
    with pytest.raises(SettingsError, match=said):
        await store.aadd_texts(**arguments)
    assert (embedding.texts, len(store.index)) == (before, 100)


async def test_a_store_that_takes_no_changes_refuses_texts_before_anything_is_embedded(store, embedding, tmp_path):
    store.save_local(tmp_path)
    reader = FaissVectorStore.load_local(tmp_path, embedding, read_only=True)
    before = embedding.texts
    for refused in (SettingsError, IndexClosedError):
        with pytest.raises(refused, match="read_only=True|is closed"):
            reader.add_texts(["a"])
        with pytest.raises(refused, match="read_only=True|is closed"):
            await reader.aadd_texts(["a"])
        reader.close()
    assert embedding.texts == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"k": 0}, "k must be >= 1"), ({"k": True}, "k must be a whole number"),
        ({"filters": {}}, "'filters'.*'filter'"),
    ],
)  # fmt: skip
def test_a_search_refuses_arguments_that_it_cannot_follow(store, arguments, said):
    for search in (store.similarity_search, store.similarity_search_with_score, store.max_marginal_relevance_search):
        with pytest.raises(SettingsError, match=said):
            search("?", **arguments)


@pytest.mark.parametrize("wrong", [{"fetch_k": 0}, {"lambda_mult": 1.1}, {"lambda_mult": float("nan")}])
def test_diversity_refuses_weights_that_are_none(store, wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        store.max_marginal_relevance_search("?", **wrong)


@pytest.mark.parametrize("vector", [[1.0] * 3, [0.0] * SIZE, [float("nan")] * SIZE, "texte", [["a"]]])
def test_a_vector_of_another_dimension_or_without_direction_is_refused(store, vector):
    with pytest.raises(SettingsError, match="the query"):
        store.similarity_search_by_vector(vector)


def test_the_length_of_a_vector_does_not_count(store, embedding):
    vector = np.array(embedding.embed_query("?"))
    assert store.similarity_search_with_score_by_vector((7 * vector).tolist()) == store.similarity_search_with_score(
        "?"
    )


class ForgetfulIndex(DenseIndex):
    """Deletes the nearest document as soon as it was found, as another thread may."""

    def search(self, queries, k, *, filters=None):
        hits = super().search(queries, k, filters=filters)
        self.delete([hits[0][0].document.id])
        return hits


def test_what_is_deleted_while_diverse_results_are_chosen_is_left_out(embedding):
    store = FaissVectorStore(embedding, index=ForgetfulIndex.create(settings=IndexSettings(dimension=SIZE)))
    store.add_texts([f"texte {n}" for n in range(10)], ids=[*map(str, range(10))])
    nearest = str(np.argmax(cosines_of(embedding, count=10)))
    found = ids_of(store.max_marginal_relevance_search("?", k=10))
    assert sorted(found) == sorted({*map(str, range(10))} - {nearest})
    store.close()


def test_metadata_come_back_and_belong_to_the_caller(store):
    metadata = {"n": 1, "x": [1, {"b": None}], "é": "ü", "f": 0.5, "t": True}
    store.add_texts(["a"], [metadata], ids=["m"])
    (found,) = store.get_by_ids(["m"])
    assert found.metadata == metadata
    found.metadata["n"] = 2
    assert store.get_by_ids(["m"])[0].metadata == metadata


def test_a_saved_folder_is_loaded_and_changed_and_saved_again(store, embedding, tmp_path):
    store.save_local(tmp_path / "index")
    loaded = FaissVectorStore.load_local(tmp_path / "index", embedding)
    asked = [f"question {n}" for n in range(20)]
    for query in asked:
        assert loaded.similarity_search_with_score(query) == store.similarity_search_with_score(query)
        assert loaded.max_marginal_relevance_search(query) == store.max_marginal_relevance_search(query)
    loaded.add_texts(["nouveau"], ids=["new"])
    loaded.delete(["0"])
    loaded.save_local()
    loaded.close()
    again = FaissVectorStore.load_local(str(tmp_path / "index"), embedding, read_only=True, memory_map=True)
    assert ids_of(again.get_by_ids(["0", "new"])) == ["new"]
    assert len(again.index) == 100
    again.close()
    assert not [path for path in (tmp_path / "index").iterdir() if path.suffix in (".pkl", ".pickle")]


async def test_a_folder_is_saved_loaded_and_closed_in_an_event_loop(store, embedding, tmp_path):
    await store.asave_local(tmp_path)
    async with await FaissVectorStore.aload_local(tmp_path, embedding) as loaded:
        assert await loaded.asimilarity_search("?") == store.similarity_search("?")
        await loaded.adelete(["0"])
        await loaded.asave_local()
    with FaissVectorStore.load_local(tmp_path, embedding) as free:
        assert len(free.index) == 99
        with pytest.raises(IndexLockedError):
            await FaissVectorStore.aload_local(tmp_path, embedding)
        reader = await FaissVectorStore.aload_local(tmp_path, embedding, read_only=True, memory_map=True, verify=False)
        await reader.aclose()
        await reader.aclose()
    for closed in (free, loaded, reader):
        with pytest.raises(IndexClosedError):
            closed.similarity_search("?")
    async with FaissVectorStore(embedding) as empty:
        assert empty.index is None


async def test_saving_loading_and_closing_wait_outside_the_event_loop(store, embedding, tmp_path):
    turns = 0

    async def take_turns():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    for wait in (store.asave_local(tmp_path), FaissVectorStore.aload_local(tmp_path, embedding), store.aclose()):
        before = turns
        done = await wait
        assert turns > before
        if done is not None:
            done.close()
    other.cancel()


def test_readers_stand_beside_a_writer_and_a_second_writer_is_refused(store, embedding, tmp_path):
    store.save_local(tmp_path)
    writer = FaissVectorStore.load_local(tmp_path, embedding)
    with pytest.raises(IndexLockedError):
        FaissVectorStore.load_local(tmp_path, embedding)
    reader = FaissVectorStore.load_local(tmp_path, embedding, read_only=True)
    writer.delete(["0"])
    writer.save_local()
    assert (len(reader.index), reader.index.reload(), len(reader.index)) == (100, True, 99)
    with pytest.raises(SettingsError):
        reader.add_texts(["a"])
    reader.close()
    writer.close()


def test_a_folder_of_another_encoder_is_refused_and_one_that_cannot_be_checked_is_told(french, tmp_path, caplog):
    french.save_local(tmp_path / "french")
    for other in ({"query_prefix": ""}, {"max_length": 32}):
        with pytest.raises(IndexFolderError, match=f"french was made with another encoder.*{next(iter(other))}"):
            FaissVectorStore.load_local(tmp_path / "french", FrenchEmbeddings(**other))
        with pytest.raises(IndexFolderError, match=next(iter(other))):
            FaissVectorStore(FrenchEmbeddings(**other), index=french.index)
    same = FaissVectorStore.load_local(tmp_path / "french", FrenchEmbeddings())
    assert same.similarity_search(QUERY) == french.similarity_search(QUERY)
    same.close()
    assert "cannot be checked" not in caplog.text
    FaissVectorStore.load_local(tmp_path / "french", DeterministicFakeEmbedding(size=384)).close()
    assert "'embedded'; DeterministicFakeEmbedding cannot be checked" in caplog.text
    wrong = FaissVectorStore.load_local(tmp_path / "french", DeterministicFakeEmbedding(size=3))
    with pytest.raises(SettingsError, match=r"\(n, 384\), got \(1, 3\)"):
        wrong.similarity_search("?")
    with pytest.raises(SettingsError, match="384"):
        wrong.add_texts(["a"])
    wrong.close()


def test_a_damaged_folder_or_none_is_refused(store, embedding, tmp_path):
    with pytest.raises(IndexFolderError):
        FaissVectorStore.load_local(tmp_path / "none", embedding)
    store.save_local(tmp_path)
    (vectors,) = tmp_path.glob("vectors-*.faiss")
    content = bytearray(vectors.read_bytes())
    content[-1] ^= 1
    vectors.write_bytes(content)
    with pytest.raises(IndexFolderError):
        FaissVectorStore.load_local(tmp_path, embedding)


def test_saving_what_is_empty_or_has_no_folder_is_refused_with_what_to_do(store, embedding, tmp_path):
    with pytest.raises(SettingsError, match="add a document first"):
        FaissVectorStore(embedding).save_local(tmp_path)
    with pytest.raises(SettingsError, match="folder"):
        store.save_local()


def test_an_index_with_settings_of_its_own_is_taken(embedding):
    with DenseIndex.create(settings=IndexSettings(dimension=SIZE, kind="hnsw", hnsw_neighbours=8)) as given:
        store = FaissVectorStore(embedding, index=given)
        store.add_texts(["a", "b"])
        assert (store.index, len(given)) == (given, 2)
    with pytest.raises(IndexClosedError):
        store.similarity_search("?")
    with pytest.raises(SettingsError, match="kind"):
        FaissVectorStore(embedding, kind="lsh")


def test_the_index_of_french_embeddings_names_its_encoder_and_finds_the_answer(french):
    assert french.index.settings.encoder == FrenchEmbeddings().identity
    assert "plainte" in french.similarity_search("Où porter plainte après un vol ?", k=1)[0].page_content


async def test_langchains_indexing_adds_skips_and_cleans_up(store):
    documents = [Document(f"article {n}", metadata={"source": str(n)}) for n in range(5)]
    records = InMemoryRecordManager("ns")
    records.create_schema()
    options = {"cleanup": "full", "source_id_key": "source", "key_encoder": "sha256"}
    assert index(documents, records, store, batch_size=2, **options)["num_added"] == 5
    assert index(documents[:3], records, store, **options)["num_deleted"] == 2
    done = await aindex([*documents[:3], Document("autre", metadata={"source": "9"})], records, store, **options)
    assert (done["num_added"], done["num_skipped"]) == (1, 3)
    assert len(store.index) == 104


def test_batches_are_embedded_one_after_another(embedding):
    store = FaissVectorStore(embedding)
    ids = store.add_texts((f"texte {n}" for n in range(10)), batch_size=3)
    assert (len(ids), len(store.index), embedding.texts) == (10, 10, 10)


async def test_stores_are_made_of_texts_and_documents_in_an_event_loop(embedding):
    documents = [Document(f"texte {n}", id=str(n)) for n in range(10)]
    made = [
        FaissVectorStore.from_documents(documents, embedding, kind="hnsw"),
        await FaissVectorStore.afrom_documents(documents, embedding, batch_size=4),
        await FaissVectorStore.afrom_texts([f"texte {n}" for n in range(10)], embedding, ids=[*map(str, range(10))]),
    ]
    assert made[0].index.settings.kind == "hnsw"
    expected = made[0].similarity_search("?", 10)
    for store in made[1:]:
        assert await store.asimilarity_search("?", 10) == expected
        assert await store.aget_by_ids(["3", "none", "1"]) == [documents[3], documents[1]]


async def test_searches_and_changes_at_once_do_not_hold_up_the_event_loop(french):
    expected = french.similarity_search_with_score(QUERY, 2, {"number": {"$lt": 4}})

    async def change(number):
        ids = await french.aadd_texts([f"Fiche {number} du parc."], [{"number": 10 + number}])
        await french.adelete(ids)

    async def work():
        searches = [french.asimilarity_search_with_score(QUERY, 2, {"number": {"$lt": 4}}) for _ in range(40)]
        return (await asyncio.gather(*searches, *(change(number) for number in range(10))))[:40]

    for found in await assert_loop_stays_free(work):
        assert [document for document, _ in found] == [document for document, _ in expected]
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-5)
    assert len(french.index) == len(SENTENCES)


def test_threads_that_add_the_first_documents_at_once_share_one_index(embedding, monkeypatch):
    store = FaissVectorStore(embedding)
    create, created, second = DenseIndex.create, [], threading.Barrier(2)

    def create_beside_another(**options):
        with suppress(threading.BrokenBarrierError):
            second.wait(timeout=0.2)  # nobody comes: one thread at a time makes an index
        created.append(create(**options))
        return created[-1]

    monkeypatch.setattr(DenseIndex, "create", create_beside_another)
    together = threading.Barrier(8, timeout=TIMEOUT)

    def add(number):
        together.wait()
        return store.add_texts([f"texte {number}-{n}" for n in range(5)])

    with ThreadPoolExecutor(8) as pool:
        ids = [id_ for added in pool.map(add, range(8), timeout=TIMEOUT) for id_ in added]
    assert len(store.get_by_ids(ids)) == len(store.index) == 40
    assert created == [store.index]
