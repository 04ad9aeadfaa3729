"""The lexical index finds by words, restricts exactly, and is on disk whole or not at all."""

import json
import math
import shutil
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin import (
    BM25Settings,
    DuplicateDocumentError,
    FrenchAnalyzer,
    IndexFolderError,
    LexicalIndex,
    SettingsError,
    StoredDocument,
)
from fr_reranker_plugin.collections import load_corpus, sample_folder

TEXTS = {
    "cantine": "L'élève déjeune à la cantine de l'école.",
    "bourse": "Les ÉLÈVES boursiers ne paient pas la cantine.",
    "passeport": "Le passeport est délivré par la mairie.",
    "impôt": "La déclaration d'impôt se fait en ligne.",
}
DOCUMENTS = [StoredDocument(name, text) for name, text in TEXTS.items()]


@pytest.fixture(scope="module")
def index() -> LexicalIndex:
    return LexicalIndex.build(DOCUMENTS)


@pytest.fixture(scope="module")
def sample() -> LexicalIndex:
    corpus = load_corpus(sample_folder() / "corpus.jsonl")
    return LexicalIndex.build(StoredDocument(name, passage.full_text) for name, passage in corpus.items())


def found(index, query, k=10, **among):
    return [name for name, _ in index.search([query], k, **among)[0]]


@pytest.mark.parametrize("query", ["eleve", "l'élève", "ÉLÈVES", "l’eleve"])
def test_case_accents_and_elisions_find_the_same_passages(index, query):
    assert set(found(index, query)) == {"cantine", "bourse"}
    assert index.search([query], 4) == index.search(["élève"], 4)


def test_scores_are_those_of_robertsons_formula(index):
    analyze, settings = FrenchAnalyzer(), BM25Settings()
    terms = {name: analyze(text) for name, text in TEXTS.items()}
    mean = sum(map(len, terms.values())) / len(terms)
    for query in ("cantine", "élève boursier cantine", "mairie passeport mairie"):
        for name, score in index.search([query], 10)[0]:
            counts, expected = Counter(terms[name]), 0.0
            for term in analyze(query):
                holding = sum(term in other for other in terms.values())
                idf = math.log(1 + (len(terms) - holding + 0.5) / (holding + 0.5))
                long = settings.k1 * (1 - settings.b + settings.b * len(terms[name]) / mean)
                expected += idf * counts[term] / (counts[term] + long)
            assert score == pytest.approx(expected, rel=1e-5)


@given(st.data())
def test_a_restricted_search_is_the_full_ranking_without_the_others(sample, data):
    ids = data.draw(st.sets(st.sampled_from(sample._ids), max_size=60))
    query = data.draw(st.sampled_from(["déclarer une naissance à la mairie", "impôt sur le revenu", "carte grise"]))
    everything = sample.search([query], len(sample))[0]
    expected = [scored for scored in everything if scored[0] in ids]
    k = data.draw(st.integers(1, 20))
    assert sample.search([query], k, ids=ids)[0] == expected[:k]


@pytest.mark.parametrize("query", ["", "  ", "le la les", "xylophone"])
def test_a_question_without_known_words_finds_nothing(index, query):
    assert index.search([query], 5) == [[]]


def test_several_questions_are_answered_one_each(index):
    one, two = index.search(["cantine", "passeport"], 1)
    assert one[0][0] in {"cantine", "bourse"}
    assert two[0][0] == "passeport"
    assert index.search([], 1) == []


def test_an_index_without_documents_or_words_finds_nothing():
    assert LexicalIndex.build([]).search(["mairie"], 3) == [[]]
    assert LexicalIndex.build([StoredDocument("a", ""), StoredDocument("b", "le")]).search(["mairie"], 3) == [[]]


def test_an_id_that_stands_twice_is_refused():
    with pytest.raises(DuplicateDocumentError, match="'a' stands twice"):
        LexicalIndex.build([StoredDocument("a", "x"), StoredDocument("a", "y")])


def test_what_is_no_document_is_refused_by_its_place():
    with pytest.raises(SettingsError, match="document 1 must be a StoredDocument, got str"):
        LexicalIndex.build([StoredDocument("a", "x"), "un texte"])


@pytest.mark.parametrize(
    ("wrong", "reason"), [({"k1": -1}, "k1"), ({"b": 1.5}, "b must"), ({"stop_words": "le"}, "stop_words")]
)
def test_wrong_settings_are_refused(wrong, reason):
    with pytest.raises(SettingsError, match=reason):
        BM25Settings(**wrong)


def test_strings_in_the_place_of_lists_are_refused(index):
    with pytest.raises(SettingsError, match="list of queries"):
        index.search("cantine", 3)
    with pytest.raises(SettingsError, match="list of ids"):
        index.search(["cantine"], 3, ids="bourse")
    with pytest.raises(SettingsError, match="k must be >= 1"):
        index.search(["cantine"], 0)


@pytest.mark.parametrize("settings", [BM25Settings(), BM25Settings(k1=0.9, b=0.4, stop_words=["mairie"])])
def test_what_was_saved_is_read_again(tmp_path, settings):
    saved = LexicalIndex.build(DOCUMENTS, settings=settings)
    saved.save(tmp_path / "words")
    read = LexicalIndex.load(tmp_path / "words")
    assert (read.settings, read.fingerprint(), len(read)) == (saved.settings, saved.fingerprint(), len(saved))
    for query in ("élève", "mairie", "impôts"):
        assert read.search([query], 5) == saved.search([query], 5)
    assert not list((tmp_path / "words").rglob("*.pkl"))


def test_a_save_replaces_the_index_and_leaves_nothing_of_it(tmp_path):
    LexicalIndex.build(DOCUMENTS).save(tmp_path)
    LexicalIndex.build(DOCUMENTS[:1]).save(tmp_path)
    assert len(LexicalIndex.load(tmp_path)) == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_a_flipped_byte_a_missing_file_and_another_analysis_are_told(tmp_path, index, monkeypatch):
    index.save(tmp_path / "whole")
    files = [path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    for number, file in enumerate(files):
        flipped, missing = tmp_path / f"flipped{number}", tmp_path / f"missing{number}"
        for folder in (flipped, missing):
            shutil.copytree(tmp_path / "whole", folder)
        content = bytearray((flipped / file).read_bytes())
        content[len(content) // 2] ^= 1
        (flipped / file).write_bytes(content)
        (missing / file).unlink()
        for folder in (flipped, missing):
            with pytest.raises(IndexFolderError):
                LexicalIndex.load(folder)
    monkeypatch.setattr(FrenchAnalyzer, "fingerprint", lambda self: "another")
    with pytest.raises(IndexFolderError, match="another analysis of French"):
        LexicalIndex.load(tmp_path / "whole")


def test_a_folder_of_something_else_is_not_overwritten(tmp_path, index):
    (tmp_path / "manifest.json").write_text(json.dumps({"kind_of_file": "a shopping list"}))
    with pytest.raises(IndexFolderError, match="not the manifest of a lexical index"):
        index.save(tmp_path)
    with pytest.raises(IndexFolderError, match="there is no lexical index"):
        LexicalIndex.load(tmp_path / "nowhere")
