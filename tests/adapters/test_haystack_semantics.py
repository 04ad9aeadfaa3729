import copy
import warnings
from dataclasses import replace
from typing import Any

import pytest
from haystack import Document
from haystack.dataclasses import ByteStream, SparseEmbedding

from adapters.haystack_documents import QUESTION, french_documents
from fr_reranker_plugin import SettingsError
from fr_reranker_plugin.scoring.ranking import BLANK_LOGIT
from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker


@pytest.fixture(params=["run", "run_async"])
def rank(request: pytest.FixtureRequest, tiny_model: str):
    """Rank with a ranker of the given parameters, through each of the two doors."""
    rankers: list[FrenchCrossEncoderRanker] = []

    async def ranked(*arguments: Any, init: dict[str, Any] | None = None, **options: Any) -> list[Document]:
        rankers.append(FrenchCrossEncoderRanker(model=tiny_model, **(init or {})))
        if request.param == "run":
            return rankers[-1].run(*arguments, **options)["documents"]
        return (await rankers[-1].run_async(*arguments, **options))["documents"]

    yield ranked
    for ranker in rankers:
        ranker.close()


@pytest.mark.parametrize("documents", [[], french_documents()], ids=["no documents", "documents"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k must be >= 1, but got 0"),
        ({"top_k": -1}, "top_k must be >= 1, but got -1"),
        ({"top_k": True}, "top_k must be a whole number"),
        ({"top_k": 1.0}, "top_k must be a whole number"),
        ({"top_k": "3"}, "top_k must be a whole number"),
        ({"scale_score": 1}, "scale_score must be True or False"),
        ({"score_threshold": float("nan")}, "score_threshold must be a number"),
        ({"score_threshold": "high"}, "score_threshold must be a number"),
        ({"score_threshold": True}, "score_threshold must be a number"),
    ],
    ids=str,
)
async def test_a_wrong_option_is_refused_whether_or_not_there_are_documents(rank, documents, options, message) -> None:
    with pytest.raises(SettingsError, match=message):
        await rank(QUESTION, documents, **options)


@pytest.mark.parametrize(
    ("query", "documents", "message"),
    [
        (None, [], "query must be a string"),
        (3, [], "query must be a string"),
        (["a"], [], "query must be a string"),
        ("q", None, "documents must be a list of Document, got NoneType"),
        ("q", "text", "documents must be a list of Document, got str"),
        ("q", Document(content="a"), "documents must be a list of Document, got Document"),
        ("q", [Document(content="a"), "b"], r"documents\[1\] must be a Document, got str"),
        ("q", [None], r"documents\[0\] must be a Document, got NoneType"),
        ("q", [{"content": 12}], r"documents\[0\] is a dictionary but not that of a Document"),
        ("q", [{"content": "a", "blob": 3}], r"documents\[0\] is a dictionary but not that of a Document"),
    ],
)
async def test_a_wrong_query_or_document_is_refused_by_its_position(rank, query, documents, message) -> None:
    with pytest.raises(SettingsError, match=message):
        await rank(query, documents)


async def test_content_that_is_not_text_is_refused_by_its_position(rank) -> None:
    document = Document(content="a")
    vars(document)["content"] = 12
    with pytest.raises(SettingsError, match=r"content of documents\[1\] must be a string or None, got 12"):
        await rank(QUESTION, [Document(content="b"), document])


async def test_no_documents_load_no_model(rank) -> None:
    assert await rank(QUESTION, [], init={"max_length": 100_000}) == []


async def test_top_k_none_returns_all_and_a_call_may_ask_for_fewer(rank) -> None:
    many = [Document(content=f"Passage {number}") for number in range(15)]
    assert len(await rank(QUESTION, many)) == 10
    assert len(await rank(QUESTION, many, init={"top_k": None})) == 15
    assert len(await rank(QUESTION, many, 3, init={"top_k": None})) == 3


async def test_the_threshold_keeps_equal_scores_and_is_applied_before_top_k(rank) -> None:
    everything = await rank(QUESTION, french_documents())
    third = everything[2].score
    assert await rank(QUESTION, french_documents(), score_threshold=third) == everything[:3]
    assert await rank(QUESTION, french_documents(), 2, score_threshold=third) == everything[:2]
    assert await rank(QUESTION, french_documents(), init={"score_threshold": third}) == everything[:3]
    kept = await rank(QUESTION, french_documents(), init={"score_threshold": 1.1}, score_threshold=float("-inf"))
    assert kept == everything


async def test_a_call_can_turn_scaling_off_and_on(rank) -> None:
    raw = await rank(QUESTION, french_documents(), scale_score=False)
    assert raw == await rank(QUESTION, french_documents(), init={"scale_score": False})
    assert await rank(QUESTION, french_documents(), init={"scale_score": False}, scale_score=True) == await rank(
        QUESTION, french_documents()
    )
    assert any(not 0 <= document.score <= 1 for document in raw)


async def test_one_document_of_each_id_is_kept_the_one_that_came_with_the_best_score(rank) -> None:
    low = Document(id="a", content="Le chat dort.", score=0.1, meta={"from": "dense"})
    high = replace(low, score=0.7, meta={"from": "bm25"})
    none = replace(low, score=None)
    other = Document(id="b", content="Le chien court.")
    ranked = await rank(QUESTION, [none, low, other, high, none], init={"score_meta_field": "first"})
    by_id = {document.id: document for document in ranked}
    assert len(ranked) == 2
    assert by_id["a"].meta == {"from": "bm25", "first": 0.7}
    assert "first" not in by_id["b"].meta
    assert [document.id for document in await rank(" ", [none, low, other, high])] == ["a", "b"]
    assert len(await rank(QUESTION, [none, low, other, high], init={"deduplicate": False})) == 4


async def test_documents_with_equal_scores_keep_their_order(rank) -> None:
    twins = [Document(id=str(number), content="Le même texte.") for number in range(9)]
    assert [document.id for document in await rank(QUESTION, twins)] == [str(number) for number in range(9)]


BLANK = [
    Document(id="none", content=None),
    Document(id="blob", blob=ByteStream(b"\x00\x01", mime_type="image/png")),
    Document(id="empty", content=""),
    Document(id="spaces", content=" \n\t"),
]


async def test_documents_without_text_come_last_in_their_order(rank) -> None:
    for scale_score, score in ((True, 0.0), (False, BLANK_LOGIT)):
        ranked = await rank(QUESTION, [*BLANK, *french_documents()], None, scale_score)
        assert [document.id for document in ranked[6:]] == ["none", "blob", "empty", "spaces"]
        assert {document.score for document in ranked[6:]} == {score}
    assert len(await rank(QUESTION, BLANK, score_threshold=0.01)) == 0


async def test_a_document_that_has_only_metadata_to_read_is_scored(rank) -> None:
    titled = Document(content=None, meta={"title": "Porter plainte"})
    [ranked] = await rank(QUESTION, [titled], init={"meta_fields_to_embed": ["title"]})
    assert ranked.score > 0


@pytest.mark.parametrize("query", ["", "  \n"])
async def test_a_blank_query_returns_the_documents_as_they_came(rank, caplog, query: str) -> None:
    documents = [replace(document, score=0.3) for document in french_documents()]
    ranked = await rank(query, [*documents, documents[0]], 2, init={"query_prefix": "question : "})
    assert ranked == documents
    assert "blank" in caplog.text


async def test_dictionaries_from_json_are_taken_as_documents(rank) -> None:
    sent = [document.to_dict() for document in french_documents()]
    before = copy.deepcopy(sent)
    assert await rank(QUESTION, sent) == await rank(QUESTION, french_documents())
    assert sent == before


async def test_what_the_caller_gave_is_never_changed(rank) -> None:
    documents = [
        Document(
            content=document.content,
            meta={"nested": {"list": [1]}, "score": "a key like any other"},
            score=0.2,
            embedding=[0.1, 0.2],
            sparse_embedding=SparseEmbedding([1], [0.5]),
        )
        for document in french_documents()
    ]
    before = copy.deepcopy(documents)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ranked = await rank(QUESTION, documents, init={"score_meta_field": "score", "return_embedding": False})
    assert documents == before
    assert all(document.meta["score"] == 0.2 for document in ranked)
    ranked[0].meta["added"] = True
    assert documents == before


async def test_everything_but_the_score_comes_back_unless_embeddings_are_not_wanted(rank) -> None:
    documents = [replace(document, embedding=[0.5], score=0.4) for document in french_documents()]
    by_id = {document.id: document for document in documents}
    for ranked in await rank(QUESTION, documents):
        assert replace(ranked, score=0.4) == by_id[ranked.id]
        assert type(ranked.score) is float
    assert all(d.embedding is None for d in await rank(QUESTION, documents, init={"return_embedding": False}))
    assert all(d.embedding is None for d in await rank("", documents, init={"return_embedding": False}))
