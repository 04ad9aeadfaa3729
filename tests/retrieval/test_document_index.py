"""Documents are found by meaning, by words or by both, under exact filters, and whatever happens to the folder."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing

import numpy as np
import pytest

from engines import TIMEOUT
from fr_reranker_plugin import (
    BM25Settings,
    DocumentIndex,
    DuplicateDocumentError,
    IndexClosedError,
    IndexFolderError,
    LexicalIndex,
    ModelSettings,
    SettingsError,
    SharedEncoder,
    StoredDocument,
    live_encoders,
    reciprocal_rank_fusion,
)
from fr_reranker_plugin.collections import load_collection, sample_folder
from fr_reranker_plugin.retrieval.document_database import DocumentDatabase

SAMPLE = load_collection(sample_folder())
DOCUMENTS = [
    StoredDocument(name, passage.full_text, {"number": number, "even": number % 2 == 0})
    for number, (name, passage) in enumerate(SAMPLE.corpus.items())
][:60]
QUESTION = next(iter(SAMPLE.queries.values()))
EVEN = {"field": "meta.even", "operator": "==", "value": True}
METHODS = ("dense", "bm25", "hybrid")


@pytest.fixture(scope="module")
def encoder():
    with closing(SharedEncoder(ModelSettings(model="embedded", device="cpu"))) as encoder:
        yield encoder


@pytest.fixture(scope="module")
def saved(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "index"
    with DocumentIndex.create(folder, encoder) as index:
        index.add(DOCUMENTS)
        index.save()
    return folder


def ids(hits):
    return [hit.document.id for hit in hits]


def test_each_method_ranks_as_its_index_does_and_hybrid_fuses_both(saved, encoder):
    with DocumentIndex.open(saved, encoder, read_only=True) as index:
        dense, words, hybrid = (index.search(QUESTION, 60, method=method) for method in METHODS)
        vectors = index.dense.vectors([document.id for document in DOCUMENTS])
    cosines = vectors @ encoder.encode_queries([QUESTION])[0]
    assert ids(dense) == [DOCUMENTS[at].id for at in np.argsort(-cosines, kind="stable")]
    assert [(hit.document.id, hit.score) for hit in words] == LexicalIndex.build(DOCUMENTS).search([QUESTION], 60)[0]
    assert [(hit.document.id, hit.score) for hit in hybrid] == reciprocal_rank_fusion([ids(dense), ids(words)])
    assert hybrid[0].document in DOCUMENTS


@pytest.mark.parametrize("method", METHODS)
def test_a_filter_holds_for_every_method(saved, encoder, method):
    with DocumentIndex.open(saved, encoder, read_only=True) as index:
        hits = index.search(
            "déclarer à la mairie", 5, method=method, filters={"field": "meta.even", "operator": "==", "value": True}
        )
        all_hits = index.search("déclarer à la mairie", 60, method=method)
    assert 0 < len(hits) <= 5
    assert all(hit.document.metadata["even"] for hit in hits)
    if method != "hybrid":
        assert ids(hits) == [hit.document.id for hit in all_hits if hit.document.metadata["even"]][:5]


@pytest.mark.parametrize("method", METHODS)
def test_a_filter_is_looked_up_once_until_something_changes(encoder, method, monkeypatch):
    with DocumentIndex.create(None, encoder) as index:
        index.add(DOCUMENTS[:4])
        index.search(QUESTION, method=method, filters=EVEN)
        with monkeypatch.context() as forbidden:
            for look_up in ("ids", "positions"):
                forbidden.setattr(DocumentDatabase, look_up, lambda *_: pytest.fail("looked up again"))
            found = index.search(QUESTION, method=method, filters=dict(EVEN))
            assert index.search(QUESTION, method=method, filters={}) == index.search(QUESTION, method=method)
        assert set(ids(found)) <= {DOCUMENTS[0].id, DOCUMENTS[2].id}
        index.dense.update([document._replace(metadata={"even": True}) for document in DOCUMENTS[:4]])
        assert ids(index.search(QUESTION, method=method, filters=EVEN)) == ids(index.search(QUESTION, method=method))


def test_changes_are_found_at_once_by_every_method(encoder):
    with DocumentIndex.create(None, encoder) as index:
        assert index.search(QUESTION) == []
        index.add(DOCUMENTS[:5])
        new = StoredDocument("zèbre", "Le zèbre vit au zoo de Vincennes.")
        index.add([new])
        for method in METHODS:
            assert index.search("Où vit le zèbre ?", 1, method=method)[0].document == new
        changed = StoredDocument("zèbre", "La girafe vit au zoo de Vincennes.")
        index.upsert([changed])
        assert index.search("girafe", 1, method="bm25")[0].document == changed
        assert index.search("zèbre", 1, method="bm25") == []
        assert index.delete(["zèbre", "absent"]) == 1
        assert index.search("girafe", 1, method="bm25") == []
        assert len(index) == 5


def test_what_is_opened_again_finds_the_same_without_building_the_words_again(saved, encoder, monkeypatch):
    with DocumentIndex.open(saved, encoder, read_only=True) as index:
        before = index.search_many([QUESTION, "carte grise"], 7)
    monkeypatch.setattr(LexicalIndex, "build", lambda *_, **__: pytest.fail("built again"))
    with DocumentIndex.open(saved, encoder, read_only=True) as index:
        assert index.search_many([QUESTION, "carte grise"], 7) == before


def test_the_encoder_it_was_made_with_is_loaded_and_closed_by_itself(saved):
    there = live_encoders()
    with DocumentIndex.open(saved, read_only=True) as index:
        assert index.search(QUESTION, 1)
        assert live_encoders() == max(1, there)
    assert live_encoders() == there


def test_the_length_it_was_made_with_is_kept(tmp_path):
    with closing(SharedEncoder(ModelSettings(model="embedded", max_length=32))) as short:
        with DocumentIndex.create(tmp_path, short) as index:
            index.save()
        with DocumentIndex.open(tmp_path) as index:
            assert index.encoder.identity == short.identity


@pytest.mark.parametrize("harm", ["removed", "damaged"])
def test_lost_words_are_built_again_from_the_documents(saved, encoder, tmp_path, harm, caplog):
    shutil.copytree(saved, tmp_path / "index")
    (words,) = (tmp_path / "index").glob("words-*")
    if harm == "removed":
        shutil.rmtree(words)
    else:
        (words / "manifest.json").write_text("{")
    with (
        DocumentIndex.open(saved, encoder, read_only=True) as whole,
        DocumentIndex.open(tmp_path / "index", encoder, read_only=True) as harmed,
    ):
        assert harmed.search(QUESTION, 9, method="bm25") == whole.search(QUESTION, 9, method="bm25")
    assert ("built again" in caplog.text) == (harm == "damaged")


def test_words_of_other_documents_are_never_read(saved, encoder, tmp_path):
    shutil.copytree(saved, tmp_path / "index")
    with DocumentIndex.open(tmp_path / "index", encoder) as index:
        index.add([StoredDocument("zèbre", "Le zèbre vit au zoo.")])
        index.dense.save()  # as if killed before the words were saved
    with DocumentIndex.open(tmp_path / "index", encoder) as index:
        assert index.search("zèbre", 1, method="bm25")[0].document.id == "zèbre"
        index.save()
        assert len(list((tmp_path / "index").glob("words-*"))) == 1


@pytest.mark.parametrize("change", ["add", "upsert", "delete"])
def test_words_that_are_saved_are_those_of_the_saved_documents_whatever_another_thread_changes(
    encoder, tmp_path, change, monkeypatch
):
    there = StoredDocument("zèbre", "Le zèbre vit au zoo.")
    changes = {"delete": [there.id], "add": [DOCUMENTS[0]], "upsert": [StoredDocument(there.id, "Le lion dort.")]}
    with DocumentIndex.create(tmp_path, encoder) as index, ThreadPoolExecutor(1) as other:
        index.add([there, DOCUMENTS[1]])
        save = index.dense.save

        def save_beside_another():
            save()
            changing.append(other.submit(getattr(index, change), changes[change]))
            wait(changing, timeout=0.3)  # it has to wait for the words

        changing = []
        monkeypatch.setattr(index.dense, "save", save_beside_another)
        index.save()
        changing[0].result(TIMEOUT)
    with DocumentIndex.open(tmp_path, encoder) as again:
        assert again.dense.ids() == [there.id, DOCUMENTS[1].id]
        expected = LexicalIndex.build([there, DOCUMENTS[1]]).search(["zèbre", QUESTION], 9)
        found = again.search_many(["zèbre", QUESTION], 9, method="bm25")
        assert [[(hit.document.id, hit.score) for hit in hits] for hits in found] == expected


@pytest.mark.parametrize("change", ["add", "upsert", "update", "delete"])
def test_words_follow_what_the_dense_index_itself_is_asked_to_change(encoder, tmp_path, change):
    there, zoo = StoredDocument("a", "La mairie est ouverte."), StoredDocument("b", "Le zoo est fermé.")
    changed = {"add": StoredDocument("c", "Le parc est ouvert."), "delete": there}.get(
        change, StoredDocument("a", "Le parc est ouvert.")
    )
    with DocumentIndex.create(tmp_path, encoder) as index:
        index.add([there, zoo])
        assert ids(index.search("mairie", method="bm25")) == ["a"]
        match change:
            case "add" | "upsert":
                getattr(index.dense, change)([changed], encoder.encode_passages([changed.text]))
            case "update":
                index.dense.update([changed])
            case "delete":
                index.dense.delete([changed.id])
        found = index.search_many(["mairie", "parc"], method="bm25")
        index.save()
    assert [ids(hits) for hits in found] == {"add": [["a"], ["c"]], "delete": [[], []]}.get(change, [[], ["a"]])
    with DocumentIndex.open(tmp_path, encoder) as again:
        assert again.search_many(["mairie", "parc"], method="bm25") == found


def test_words_can_be_searched_while_a_document_is_removed_and_added_again(encoder, monkeypatch):
    with DocumentIndex.create(None, encoder) as index:
        index.add(DOCUMENTS[:3])
        read = index.dense.documents

        def read_beside_another():
            for document in read():
                yield document
                if changes:
                    index.delete(changes)
                    index.add(DOCUMENTS[:1])
                    changes.clear()

        changes = [DOCUMENTS[0].id]
        monkeypatch.setattr(index.dense, "documents", read_beside_another)
        every_word = " ".join(document.text for document in DOCUMENTS)
        assert sorted(ids(index.search(every_word, 9, method="bm25"))) == sorted(one.id for one in DOCUMENTS[:3])
        monkeypatch.undo()
        expected = LexicalIndex.build(index.dense.documents()).search([every_word], 9)[0]
        found = index.search(every_word, 9, method="bm25")
        assert [(hit.document.id, hit.score) for hit in found] == expected


def test_words_of_documents_that_change_while_they_are_saved_are_not_kept(encoder, tmp_path, monkeypatch):
    with DocumentIndex.create(tmp_path, encoder) as index:
        index.add(DOCUMENTS[:2])
        read = index.dense.documents

        def change_and_read():
            index.dense.delete([DOCUMENTS[0].id])
            return read()

        monkeypatch.setattr(index.dense, "documents", change_and_read)
        index.save()
        assert ids(index.search(DOCUMENTS[0].text, 1, method="bm25")) != [DOCUMENTS[0].id]
    with DocumentIndex.open(tmp_path, encoder) as again:
        assert ids(again.search(DOCUMENTS[0].text, 1, method="bm25")) == [DOCUMENTS[0].id]


def test_words_are_saved_beside_the_documents_wherever_the_process_has_gone(encoder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with DocumentIndex.create("index", encoder) as index:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        index.save()
    assert len(list((tmp_path / "index").glob("words-*"))) == 1


def test_a_reader_follows_the_writer(encoder, tmp_path):
    with DocumentIndex.create(tmp_path, encoder) as writer:
        writer.save()
        with DocumentIndex.open(tmp_path, encoder, read_only=True) as reader:
            assert reader.search("zèbre", 1, method="bm25") == []
            writer.add([StoredDocument("zèbre", "Le zèbre vit au zoo.")])
            writer.save()
            assert reader.reload()
            assert reader.search("zèbre", 1, method="bm25")[0].document.id == "zèbre"
            assert not reader.reload()


def test_many_search_while_one_adds(encoder):
    with DocumentIndex.create(None, encoder) as index:
        index.add(DOCUMENTS[:20])
        together = threading.Barrier(5)

        def search(_):
            together.wait(TIMEOUT)
            return [len(index.search(QUESTION, 20)) for _ in range(5)]

        def add():
            together.wait(TIMEOUT)
            for document in DOCUMENTS[20:26]:
                index.add([document])

        with ThreadPoolExecutor(5) as pool:
            adding = pool.submit(add)
            counts = [count for row in pool.map(search, range(4)) for count in row]
            adding.result(TIMEOUT)
        assert set(counts) == {20}
        assert len(index.search("a b c", 100, method="dense")) == 26
        every_word = " ".join(document.text for document in DOCUMENTS)
        assert len(index.search(every_word, 100, method="bm25")) == 26


def test_another_encoder_is_refused(saved):
    with (
        closing(SharedEncoder(ModelSettings(model="embedded", device="cpu"), query_prefix="demande : ")) as other,
        pytest.raises(IndexFolderError, match="another encoder.*query_prefix"),
    ):
        DocumentIndex.open(saved, other)


def test_an_id_that_is_taken_is_refused_and_words_keep_up(encoder):
    with DocumentIndex.create(None, encoder) as index:
        index.add(DOCUMENTS[:3])
        with pytest.raises(DuplicateDocumentError, match="use upsert"):
            index.add([DOCUMENTS[0]])
        assert len(index) == 3


def test_an_index_that_takes_no_changes_refuses_documents_before_they_are_encoded(saved, encoder, monkeypatch):
    with DocumentIndex.open(saved, encoder, read_only=True) as index:
        monkeypatch.setattr(index.encoder, "encode_passages", lambda _: pytest.fail("encoded"))
        for write in (index.add, index.upsert):
            with pytest.raises(SettingsError, match="read_only=True"):
                write(DOCUMENTS[:1])
    for write in (index.add, index.upsert):
        with pytest.raises(IndexClosedError):
            write(DOCUMENTS[:1])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"question": 7}, "a question must be a string"),
        ({"question": "x", "k": 0}, "k must be >= 1"),
        ({"question": "x", "method": "magic"}, "method must be one of 'dense', 'bm25', 'hybrid', got 'magic'"),
    ],
)
def test_wrong_arguments_are_refused(saved, encoder, arguments, reason):
    with DocumentIndex.open(saved, encoder, read_only=True) as index, pytest.raises(SettingsError, match=reason):
        index.search(**arguments)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", [iter, np.asarray])
def test_questions_may_come_in_any_form_that_can_be_read_once(encoder, form, method):
    questions = ["mairie", "carte grise"]
    with DocumentIndex.create(None, encoder) as index:
        index.add(DOCUMENTS[:3])
        assert index.search_many(form(questions), method=method) == index.search_many(questions, method=method)


@pytest.mark.parametrize("wrong", [["un texte"], DOCUMENTS[0], [DOCUMENTS[0], {"text": "un texte"}]])
def test_what_is_no_document_is_refused_by_its_place(encoder, wrong):
    with DocumentIndex.create(None, encoder) as index:
        for write in (index.add, index.upsert):
            with pytest.raises(SettingsError, match=r"document [01] must be a StoredDocument, got (str|dict)"):
                write(wrong)
        assert len(index) == 0


def test_words_are_weighed_as_asked(saved, encoder):
    with DocumentIndex.open(saved, encoder, read_only=True, bm25=BM25Settings(k1=0.1, b=0.0)) as index:
        found = index.search(QUESTION, 9, method="bm25")
    expected = LexicalIndex.build(DOCUMENTS, settings=BM25Settings(k1=0.1, b=0.0)).search([QUESTION], 9)[0]
    assert [(hit.document.id, hit.score) for hit in found] == expected
