from collections.abc import Callable
from pathlib import Path

import pytest

from fr_reranker_plugin import DocumentIndex, ModelSettings, SharedEncoder, SharedScorer, StoredDocument, rank_by_score
from fr_reranker_plugin.scoring.ranking import BLANK_LOGIT
from fr_reranker_plugin.serving import ServerSettings

QUESTION = "Dans quel délai faut-il déclarer une naissance ?"
TEXTS = [
    "La naissance se déclare à la mairie dans les cinq jours.",
    "Le parc ferme à vingt heures.",
    "",
    "Été comme hiver, la bibliothèque ouvre à neuf heures. 👨‍👩‍👧",
    "Le parc ferme à vingt heures.",
]


@pytest.fixture(scope="module")
def in_process(tiny_model: str):
    """What the scorer of this process says of the texts, best first, as (index, score, logit)."""
    with_text = [place for place, text in enumerate(TEXTS) if text]
    scorer = SharedScorer(ModelSettings(model=tiny_model))
    distinct = list(dict.fromkeys(TEXTS[place] for place in with_text))
    logit_of = dict(zip(distinct, scorer.score([(QUESTION, text) for text in distinct]), strict=True))
    scorer.close()
    return rank_by_score([logit_of.get(text, BLANK_LOGIT) for text in TEXTS])


def test_rerank_gives_the_order_and_scores_of_the_process(tiny_server, in_process):
    answer = tiny_server.post("/rerank", {"query": QUESTION, "texts": TEXTS})
    assert answer.status_code == 200
    assert answer.json() == [{"index": one.index, "score": one.score} for one in in_process]
    assert in_process[-1].index == 2, "a text without content comes last"


def test_rerank_gives_logits_and_texts_where_they_are_asked_for(tiny_server, in_process):
    body = {"query": QUESTION, "texts": TEXTS, "raw_scores": True, "return_text": True}
    assert tiny_server.post("/rerank", body).json() == [
        {"index": one.index, "score": one.logit, "text": TEXTS[one.index]} for one in in_process
    ]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_jina_and_cohere_get_the_order_and_scores_of_the_process(path, tiny_server, in_process):
    answer = tiny_server.post(path, {"model": "any", "query": QUESTION, "documents": TEXTS, "top_n": 3}).json()
    found = [(one["index"], one["relevance_score"]) for one in answer["results"]]
    assert found == [(one.index, one.score) for one in in_process[:3]]


def test_v1_has_the_fields_of_both_dialects(tiny_server, tiny_model):
    answer = tiny_server.post("/v1/rerank", {"query": QUESTION, "documents": TEXTS, "top_n": None}).json()
    assert answer["model"] == tiny_model
    assert answer["usage"]["total_tokens"] == answer["meta"]["tokens"]["input_tokens"] > 0
    assert len(answer["results"]) == len(TEXTS)


@pytest.mark.parametrize(
    ("fields", "repeated"),
    [
        ({}, True),
        ({"return_documents": False}, False),
        ({"max_chunks_per_doc": 10}, False),
        ({"rank_fields": ["text"]}, False),
        ({"max_chunks_per_doc": 10, "return_documents": True}, True),
    ],
)
def test_v1_repeats_documents_as_the_dialect_does_unless_told(fields, repeated, tiny_server):
    documents = [{"text": TEXTS[0], "page": 3}]
    answer = tiny_server.post("/v1/rerank", {"query": QUESTION, "documents": documents, **fields}).json()
    assert answer["results"][0].get("document") == (documents[0] if repeated else None)


def test_rank_fields_are_read_in_their_order_and_nothing_else_is(tiny_server):
    documents = [{"text": "un texte", "title": "Un titre", "year": 2020}, "Un titre\n2020", {"text": "seul"}]
    body = {"query": QUESTION, "documents": documents, "rank_fields": ["title", "year"]}
    results = tiny_server.post("/v1/rerank", body).json()["results"]
    score = {one["index"]: one["relevance_score"] for one in results}
    assert score[0] == pytest.approx(score[1], abs=1e-6)
    assert score[2] == 0.0, "none of its fields is read"


@pytest.mark.parametrize("extra", [{"truncate": False}, {"truncation_direction": "Left"}])
def test_a_text_that_would_be_cut_against_the_clients_will_is_refused(extra, tiny_server):
    body = {"query": QUESTION, "texts": ["un mot " * 600], **extra}
    answer = tiny_server.post("/rerank", body)
    assert (answer.status_code, answer.json()["code"], answer.json()["error_type"]) == (
        422,
        "text_too_long",
        "Validation",
    )
    assert tiny_server.post("/rerank", {**body, "texts": TEXTS}).status_code == 200
    assert tiny_server.post("/rerank", {"query": QUESTION, "texts": body["texts"]}).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rerank", {"query": QUESTION, "texts": []}),
        ("/v1/rerank", {"query": QUESTION, "documents": []}),
        ("/v2/rerank", {"query": QUESTION, "documents": []}),
        ("/score", {"pairs": []}),
    ],
)
def test_nothing_to_score_is_answered_with_nothing(path, body, tiny_server):
    answer = tiny_server.post(path, body)
    found = answer.json()
    assert answer.status_code == 200
    assert (found if isinstance(found, list) else found.get("results", found.get("scores"))) == []


def test_fields_of_another_server_are_passed_over_and_misspelt_ones_of_ours_are_not(tiny_server):
    assert tiny_server.post("/rerank", {"query": "q", "texts": ["t"], "top_n": 1, "model": "m"}).status_code == 200
    wrong = tiny_server.post("/score", {"pairs": [], "raw_score": True})
    assert wrong.status_code == 422
    assert "raw_score" in wrong.json()["message"]


def test_pairs_are_scored_each_on_its_own(tiny_server, tiny_model):
    pairs = [(QUESTION, TEXTS[0]), ("Autre question ?", TEXTS[1]), ("Vide ?", " "), ("Long ?", "un mot " * 600)]
    scorer = SharedScorer(ModelSettings(model=tiny_model))
    expected = scorer.score([pairs[0], pairs[1], pairs[3]])
    scorer.close()
    body = {"pairs": [{"query": query, "passage": passage} for query, passage in pairs], "raw_scores": True}
    answer = tiny_server.post("/score", body).json()
    assert answer["scores"] == [expected[0], expected[1], BLANK_LOGIT, expected[2]]
    assert (answer["truncated"], answer["tokens"], answer["model"]) == ([3], expected.tokens, tiny_model)
    scaled = tiny_server.post("/score", {**body, "raw_scores": False}).json()["scores"]
    assert scaled[2] == 0.0
    assert all(0 <= score <= 1 for score in scaled)


def test_info_says_which_model_answers(tiny_server, tiny_model):
    info = tiny_server.get("/info").json()
    assert (info["model_id"], info["model_dtype"], info["max_client_batch_size"]) == (tiny_model, "float32", 1000)
    scorer = SharedScorer(ModelSettings(model=tiny_model))
    assert info["max_input_length"] == scorer.max_length
    scorer.close()


def test_long_texts_are_read_to_their_end_where_the_server_is_told_to(serve, tiny_model):
    server = serve(SharedScorer(ModelSettings(model=tiny_model)), ServerSettings(long_documents="max"))
    body = {"query": QUESTION, "texts": ["un mot " * 600], "truncate": False}
    assert server.post("/rerank", body).status_code == 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of three documents, made with the embedded bi-encoder."""
    folder = tmp_path_factory.mktemp("index") / "folder"
    encoder = SharedEncoder(ModelSettings(model="embedded"))
    with DocumentIndex.create(folder, encoder) as index:
        index.add(
            [
                StoredDocument("naissance", "Une naissance se déclare à la mairie.", {"year": 2020}),
                StoredDocument("parc", "Le parc ferme à vingt heures.", {"year": 2010}),
                StoredDocument("plainte", "Une plainte se dépose au commissariat.", {"year": 2021}),
            ]
        )
        index.save()
    encoder.close()
    return folder


@pytest.fixture
def index_server(serve: Callable, folder: Path, tiny_model: str):
    return serve(SharedScorer(ModelSettings(model=tiny_model)), index=folder)


def test_retrieve_finds_and_reranks(index_server, tiny_model):
    answer = index_server.post("/retrieve", {"query": "Où déclarer une naissance ?", "top_k": 2, "raw_scores": True})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [one["rank"] for one in results] == [1, 2]
    scorer = SharedScorer(ModelSettings(model=tiny_model))
    expected = scorer.score([("Où déclarer une naissance ?", one["text"]) for one in results])
    scorer.close()
    assert [one["score"] for one in results] == pytest.approx(expected, abs=1e-4)
    assert results[0]["score"] >= results[1]["score"]


def test_retrieve_without_reranking_gives_the_order_of_the_first_stage(index_server):
    body = {"query": "Où déclarer une naissance ?", "rerank": False, "method": "bm25", "top_k": 3}
    [first, *_] = results = index_server.post("/retrieve", body).json()["results"]
    assert first["id"] == "naissance"
    assert [(one["rank"], one["score"]) for one in results] == [(one["found_at"], one["found_with"]) for one in results]


def test_retrieve_filters_and_says_what_is_wrong_with_a_filter(index_server):
    body = {"query": "Une naissance ?", "filters": {"field": "meta.year", "operator": ">=", "value": 2021}}
    assert [one["id"] for one in index_server.post("/retrieve", body).json()["results"]] == ["plainte"]
    wrong = index_server.post(
        "/retrieve", {"query": "q", "filters": {"field": "meta.year", "operator": "~", "value": 1}}
    )
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_request")


def test_the_bi_encoder_runs_where_the_cross_encoder_does_and_asks_the_hub_no_more(serve, folder, tiny_model):
    model = ModelSettings(model=tiny_model, device=["cpu"], local_files_only=True)
    server = serve(SharedScorer(model), index=folder)
    encoder = server.door.first_stage._opened().encoder.model
    assert (encoder.device, encoder.local_files_only) == ("cpu", True)
    assert server.post("/retrieve", {"query": "Une naissance ?"}).status_code == 200


def test_without_an_index_there_is_nothing_to_retrieve_from(tiny_server):
    assert tiny_server.post("/retrieve", {"query": "q"}).status_code == 404


def test_the_order_of_the_first_stage_counts_by_half_with_the_embedded_model_unless_told(serve, folder, tiny_model):
    for model, usual in (("embedded", 0.5), (tiny_model, 0.0)):
        server = serve(SharedScorer(ModelSettings(model=model)), index=folder)
        assert server.get("/index").json()["first_stage_weight"] == usual
        bodies = [{"query": "Une naissance ?", **weight} for weight in ({}, {"first_stage_weight": usual})]
        untold, told = (server.post("/retrieve", body).json()["results"] for body in bodies)
        assert untold == told
        other = server.post("/retrieve", {"query": "Une naissance ?", "first_stage_weight": 0.25}).json()["results"]
        assert [one["score"] for one in other] != [one["score"] for one in told]


def test_retrieve_looks_for_as_many_candidates_as_a_request_may_have(serve, folder, tiny_model):
    server = serve(SharedScorer(ModelSettings(model=tiny_model)), ServerSettings(max_texts=12), index=folder)
    assert len(server.post("/retrieve", {"query": "Une naissance ?"}).json()["results"]) == 3
    refused = server.post("/retrieve", {"query": "Une naissance ?", "candidates": 13})
    assert (refused.status_code, refused.json()["code"]) == (422, "too_many_texts")
    assert "ask for fewer candidates" in refused.json()["message"]


def test_retrieve_follows_the_writer_of_the_index(tmp_path, serve, tiny_model):
    encoder = SharedEncoder(ModelSettings(model="embedded"))
    with DocumentIndex.create(tmp_path / "index", encoder) as index:
        index.add([StoredDocument("a", "Le parc ferme.")])
        index.save()
        server = serve(SharedScorer(ModelSettings(model=tiny_model)), index=tmp_path / "index")
        body = {"query": "Quand ferme le parc ?"}
        assert len(server.post("/retrieve", body).json()["results"]) == 1
        index.add([StoredDocument("b", "Le parc ouvre.")])
        index.save()
        assert len(server.post("/retrieve", body).json()["results"]) == 2
        for manifest in (tmp_path / "index").glob("*.json"):
            manifest.write_text("{", encoding="utf-8")
        assert len(server.post("/retrieve", body).json()["results"]) == 2, "what was open stays in use"
    encoder.close()
