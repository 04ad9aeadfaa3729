"""`compress_documents` of the LangChain reranker: which documents come back, in which order, with what in them."""

import copy
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from engines import FailsOn, LengthEngine
from fr_reranker_plugin import BatchingScorer, ScoringError, SettingsError, live_scorers
from fr_reranker_plugin.langchain import FrenchCrossEncoderReranker
from fr_reranker_plugin.scoring.ranking import BLANK_LOGIT, sigmoid

QUERY = "Où demander un acte de naissance ?"
TEXTS = ["aa", "aaaa", "a", "aaa"]


class CapturedDocument(Document):
    """A kind of document that an application made for itself."""

    page: int = 0


@pytest.fixture(scope="module")
def by_length():
    """A scorer whose logit is the length of the passage."""
    with BatchingScorer(LengthEngine()) as scorer:
        yield scorer


def reranker_of(scorer, **fields):
    return FrenchCrossEncoderReranker(scorer=scorer, **{"top_n": None, "scale_score": False, **fields})


def documents_of(*texts):
    return [Document(page_content=text, id=f"d{at}", metadata={"source": at}) for at, text in enumerate(texts)]


def ids_of(documents):
    return [document.id for document in documents]


def scores_of(documents):
    return [document.metadata["relevance_score"] for document in documents]


def test_the_best_document_comes_first_with_its_score_in_the_metadata(by_length):
    ranked = reranker_of(by_length).compress_documents(documents_of(*TEXTS), QUERY)
    assert ids_of(ranked) == ["d1", "d3", "d0", "d2"]
    assert scores_of(ranked) == [4.0, 3.0, 2.0, 1.0]
    assert all(type(score) is float for score in scores_of(ranked))


def test_scores_are_between_zero_and_one_unless_raw_ones_are_asked_for(by_length):
    ranked = reranker_of(by_length, scale_score=True).compress_documents(documents_of(*TEXTS), QUERY)
    assert scores_of(ranked) == [sigmoid(4.0), sigmoid(3.0), sigmoid(2.0), sigmoid(1.0)]


def test_the_three_best_are_kept_by_default_and_top_n_keeps_others(by_length):
    documents = documents_of(*TEXTS)
    assert len(FrenchCrossEncoderReranker(scorer=by_length).compress_documents(documents, QUERY)) == 3
    assert ids_of(reranker_of(by_length, top_n=1).compress_documents(documents, QUERY)) == ["d1"]
    assert len(reranker_of(by_length, top_n=99).compress_documents(documents, QUERY)) == 4


def test_the_threshold_keeps_what_equals_it(by_length):
    kept = reranker_of(by_length, score_threshold=3.0, top_n=9).compress_documents(documents_of(*TEXTS), QUERY)
    assert scores_of(kept) == [4.0, 3.0]


def test_documents_without_text_come_last_and_cost_nothing():
    engine = LengthEngine()
    documents = documents_of("", "aa", " \n", "a")
    with BatchingScorer(engine) as scorer:
        raw = reranker_of(scorer).compress_documents(documents, QUERY)
        scaled = reranker_of(scorer, scale_score=True).compress_documents(documents, QUERY)
    assert ids_of(raw) == ids_of(scaled) == ["d1", "d3", "d0", "d2"]
    assert scores_of(raw)[2:] == [BLANK_LOGIT, BLANK_LOGIT]
    assert scores_of(scaled)[2:] == [0.0, 0.0]
    assert sum(map(len, engine.batches)) == 4


def test_a_text_that_stands_twice_is_scored_once_and_kept_twice():
    engine = LengthEngine()
    with BatchingScorer(engine) as scorer:
        ranked = reranker_of(scorer).compress_documents(documents_of("a", "bb", "a"), QUERY)
    assert ids_of(ranked) == ["d1", "d0", "d2"]
    assert sum(map(len, engine.batches)) == 2


def test_deduplication_keeps_the_first_of_an_id_or_of_a_text_without_one(by_length):
    documents = [
        Document(page_content="aa", id="x"),
        Document(page_content="aaaa", id="x"),
        Document(page_content="a"),
        Document(page_content="a"),
        Document(page_content="a", id="y"),
    ]
    ranked = reranker_of(by_length, deduplicate=True).compress_documents(documents, QUERY)
    assert [(document.id, document.page_content) for document in ranked] == [("x", "aa"), (None, "a"), ("y", "a")]


def test_prefixes_suffixes_and_metadata_stand_around_the_texts():
    asked = []

    class Listening(LengthEngine):
        def encode(self, pairs):
            asked.extend(pairs)
            return super().encode(pairs)

    documents = [
        Document(page_content="texte", metadata={"title": "Titre", "year": 0, "draft": False, "author": None}),
        Document(page_content="", metadata={"title": "Seul"}),
        Document(page_content="nu"),
    ]
    with BatchingScorer(Listening()) as scorer:
        reranker_of(
            scorer, metadata_fields=["title", "year", "draft", "author"], separator=" | ",
            query_prefix="q: ", query_suffix=" ?", document_prefix="d: ", document_suffix=" .",
        ).compress_documents(documents, "où")  # fmt: skip
    assert asked == [
        ("q: où ?", "d: Titre | 0 | False | texte ."),
        ("q: où ?", "d: Seul |  ."),
        ("q: où ?", "d: nu ."),
    ]


def test_no_documents_give_no_documents_and_load_nothing(no_model_left):
    assert FrenchCrossEncoderReranker(model="no/such-model").compress_documents([], QUERY) == []
    assert live_scorers() == 0


@pytest.mark.parametrize("query", ["", " \n\t"])
def test_a_blank_query_leaves_all_documents_as_they_are_with_one_warning(caplog, query):
    documents = documents_of(*TEXTS)
    unranked = FrenchCrossEncoderReranker(model="no/such-model", top_n=1).compress_documents(documents, query)
    assert unranked == documents
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize(
    ("documents", "query", "said"),
    [
        ([Document(page_content="a"), "b"], QUERY, "document 1 must be a langchain_core Document, got str"),
        ([None], QUERY, "document 0 .* got NoneType"),
        ([Document.model_construct(page_content=3)], QUERY, "text of document 0 must be a string, got int"),
        ("a text", QUERY, "documents must be a list, got str"),
        (Document(page_content="a"), QUERY, "documents must be a list, got Document"),
        ([], None, "query must be a string, got NoneType"),
        ([], ["q"], "query must be a string, got list"),
    ],
)
def test_what_is_not_a_document_or_a_query_is_refused_before_anything_is_loaded(documents, query, said):
    with pytest.raises(SettingsError, match=said):
        FrenchCrossEncoderReranker(model="no/such-model", raise_on_failure=False).compress_documents(documents, query)


def test_a_failure_is_raised_or_leaves_the_documents_as_they_are_with_a_warning(caplog):
    documents = documents_of("bon", "mauvais")
    with BatchingScorer(FailsOn("mauvais")) as scorer:
        with pytest.raises(ScoringError, match="mauvais"):
            reranker_of(scorer).compress_documents(documents, QUERY)
        caplog.clear()
        assert reranker_of(scorer, raise_on_failure=False, top_n=1).compress_documents(documents, QUERY) == documents
    (ours,) = [record for record in caplog.records if record.name.startswith("fr_reranker_plugin.langchain")]
    assert "ScoringError" in ours.message


def test_cut_documents_are_counted_in_one_log_line_per_call_and_uncut_ones_in_none(by_length, caplog):
    caplog.set_level(logging.INFO, "fr_reranker_plugin.langchain")
    reranker = reranker_of(by_length, top_n=1)
    for _ in range(2):
        reranker.compress_documents(documents_of("a…", "b", "cc…", "a…"), QUERY)
    reranker.rerank(["b…"], QUERY)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "3 of 4 documents were not read to their end"),
        ("INFO", "3 of 4 documents were not read to their end"),
        ("INFO", "1 of 1 documents were not read to their end"),
    ]
    caplog.clear()
    reranker_of(by_length).compress_documents(documents_of("a", "b"), QUERY)
    assert not caplog.records


def test_a_document_keeps_its_class_and_its_other_fields(by_length):
    (kept,) = reranker_of(by_length).compress_documents([CapturedDocument(page_content="a", page=7)], QUERY)
    assert (type(kept), kept.page, kept.type) == (CapturedDocument, 7, "Document")


def test_the_score_of_an_earlier_reranker_is_replaced_or_kept_under_another_key(by_length):
    documents = [Document(page_content="a", metadata={"relevance_score": 0.9})]
    assert reranker_of(by_length).compress_documents(documents, QUERY)[0].metadata == {"relevance_score": 1.0}
    (kept,) = reranker_of(by_length, relevance_score_key="second").compress_documents(documents, QUERY)
    assert kept.metadata == {"relevance_score": 0.9, "second": 1.0}


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.builds(
            Document,
            page_content=st.text(max_size=20),
            id=st.none() | st.text(max_size=5),
            metadata=st.dictionaries(
                st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())
            ),
        ),
        max_size=12,
    )
)
def test_ids_and_metadata_survive_and_the_callers_documents_stay_as_they_were(by_length, documents):
    before = copy.deepcopy(documents)
    ranked = reranker_of(by_length, relevance_score_key="the score").compress_documents(documents, QUERY)
    assert documents == before

    def without_score(document):
        return {name: value for name, value in document.metadata.items() if name != "the score"}

    def described(documents):
        return sorted(repr((d.id, d.page_content, sorted(without_score(d).items()))) for d in documents)

    assert described(ranked) == described(before)
    scores = [document.metadata["the score"] for document in ranked]
    assert scores == sorted(scores, reverse=True)
