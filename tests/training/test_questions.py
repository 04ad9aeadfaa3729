"""Questions by a chat model: asked once, cleaned, and kept through a failure. The model is a server on this machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_server import BROKEN_OFF, chatting
from fr_reranker_plugin.errors import SettingsError, TrainingError
from fr_reranker_plugin.training import chat_endpoint
from fr_reranker_plugin.training.chat_endpoint import ChatEndpoint
from fr_reranker_plugin.training.questions import KeptAnswers, question_examples, questions_of

PASSAGES = ["La naissance se déclare à la mairie.", "La plainte se dépose en ligne.", "Le préavis est d'un mois."]


@pytest.fixture
def chat():
    with chatting() as chat:
        yield chat


def test_each_question_becomes_a_pair_with_its_passage(chat, tmp_path):
    endpoint = ChatEndpoint(base_url=chat.url, model="petit", key="une-clef", seed=7)
    made = list(
        question_examples(
            PASSAGES, endpoint.answer, KeptAnswers(tmp_path / "a", endpoint.identity), per_passage=2, workers=2
        )
    )
    assert [one.passages for one in made] == [(text,) for text in PASSAGES for _ in range(2)]
    assert {one.query for one in made} == {"Où déclarer une naissance ?", "Qui déclare un enfant ?"}
    assert all(one.labels == (1.0,) for one in made)
    assert len(chat.requests) == 3
    headers, body = chat.requests[0]
    assert headers["Authorization"] == "Bearer une-clef"
    assert (body["model"], body["seed"]) == ("petit", 7)
    assert any(text in body["messages"][0]["content"] for text in PASSAGES)
    assert "une-clef" not in repr(endpoint)


def test_a_busy_endpoint_is_asked_again(chat):
    chat.answers = [(429, b"busy"), (503, b"busy"), "Où voter ?"]
    assert ChatEndpoint(base_url=chat.url, model="petit").answer("?") == "Où voter ?"
    assert len(chat.requests) == 3


def test_an_answer_that_is_broken_off_is_asked_for_again(chat, monkeypatch):
    monkeypatch.setattr(chat_endpoint.time, "sleep", lambda _: None)
    chat.answers = [BROKEN_OFF, "Où voter ?"]
    assert ChatEndpoint(base_url=chat.url, model="petit").answer("?") == "Où voter ?"
    chat.answers = [BROKEN_OFF] * 2
    with pytest.raises(TrainingError, match=r"IncompleteRead.*look at the address"):
        ChatEndpoint(base_url=chat.url, model="petit", attempts=2).answer("?")
    assert len(chat.requests) == 4


def test_half_a_character_in_an_answer_is_dropped(chat, tmp_path):
    chat.answers = ["Où voter \ud83d?"]
    endpoint = ChatEndpoint(base_url=chat.url, model="petit")
    kept = KeptAnswers(tmp_path / "a", endpoint.identity)
    [made] = question_examples(PASSAGES[:1], endpoint.answer, kept, per_passage=1, workers=1)
    assert made.query == "Où voter ?"


def test_half_a_character_in_a_passage_is_a_question_mark(chat, tmp_path):
    endpoint = ChatEndpoint(base_url=chat.url, model="petit")
    kept = KeptAnswers(tmp_path / "a", endpoint.identity)
    made = question_examples(["Au parc \ud83d."], endpoint.answer, kept, per_passage=1, workers=1)
    assert [one.passages for one in made] == [("Au parc ?.",)]


@pytest.mark.parametrize(
    ("answer", "reason", "requests"),
    [
        ((401, b"no such key"), "401 Unauthorized: no such key", 1),
        ((503, b"busy"), "503 Service Unavailable: busy", 2),
        ((200, b"<html>"), "answered otherwise than OpenAI's chat completions do: '<html>'", 1),
        ((200, b'{"choices": []}'), "answered otherwise", 1),
    ],
)
def test_an_endpoint_that_does_not_answer_is_told_with_what_to_do(chat, answer, reason, requests):
    chat.answers = [answer] * 5
    with pytest.raises(TrainingError, match=reason):
        ChatEndpoint(base_url=chat.url, model="petit", attempts=2).answer("?")
    assert len(chat.requests) == requests


@pytest.mark.parametrize("url", ["file:///etc", "http://localhost:80a/v1", "http://local host/v1", "http://mairie/é"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(SettingsError, match="base_url must be"):
        ChatEndpoint(base_url=url, model="petit")


@pytest.mark.parametrize("key", ["sk-secret\r", "“sk-secret”", "sk-secret\n\nx", ""])
def test_a_key_that_no_header_carries_is_refused_and_not_shown(key):
    with pytest.raises(SettingsError, match="OPENAI_API_KEY.* must be") as refused:
        ChatEndpoint(base_url="http://localhost/v1", model="petit", key=key)
    assert "secret" not in str(refused.value)


def test_an_address_where_nobody_answers_is_told():
    with pytest.raises(TrainingError, match="look at the address"):
        ChatEndpoint(base_url="http://127.0.0.1:9", model="petit", attempts=1).answer("?")


def test_nothing_is_asked_twice_after_a_failure(chat, tmp_path):
    endpoint = ChatEndpoint(base_url=chat.url, model="petit")
    chat.answers = ["Où déclarer ?", (401, b"no")]
    with pytest.raises(TrainingError):
        list(
            question_examples(
                PASSAGES, endpoint.answer, KeptAnswers(tmp_path / "a", endpoint.identity), per_passage=1, workers=1
            )
        )
    with (tmp_path / "a").open("a") as file:
        file.write('{"prompt": "cut o')
    made = list(
        question_examples(
            PASSAGES, endpoint.answer, KeptAnswers(tmp_path / "a", endpoint.identity), per_passage=1, workers=1
        )
    )
    assert len(made) == 3
    assert len(chat.requests) == 4
    assert made[0].query == "Où déclarer ?"


@pytest.mark.parametrize("other", [{"model": "grand"}, {"temperature": 0.0}, {"seed": 1}])
def test_what_another_model_or_way_of_asking_answered_is_not_taken(chat, tmp_path, other):
    for number, changes in enumerate([{}, {}, other, other], start=1):
        endpoint = ChatEndpoint(base_url=chat.url, **{"model": "petit", **changes})
        kept = KeptAnswers(tmp_path / "a", endpoint.identity)
        list(question_examples(PASSAGES, endpoint.answer, kept, per_passage=1, workers=1))
        assert len(chat.requests) == 3 * ((number + 1) // 2)


@pytest.mark.parametrize(
    ("line", "question"),
    [
        ("2) Où voter ?", ["Où voter ?"]),
        ("• \"Où voter ?\"", ["Où voter ?"]),
        ("« Où voter ? »", ["Où voter ?"]),
        ("Voici deux questions :", []),
        ("Que dit ce texte du vote ?", []),
        ("Quel est le thème du document ?", []),
        ("Quel document faut-il pour voter ?", ["Quel document faut-il pour voter ?"]),
        ("Où ?", []),
    ],
)  # fmt: skip
def test_a_line_gives_a_question_that_someone_might_ask(line, question):
    assert questions_of(line, 3) == question


@given(st.text(), st.integers(1, 5))
def test_whatever_a_model_says_gives_so_many_different_questions_at_most(answer, count):
    found = questions_of(answer, count)
    assert len(found) == len(set(found)) <= count
    assert all(one.endswith("?") and one == one.strip() for one in found)
