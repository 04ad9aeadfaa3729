"""`fr-reranker train-data questions`: what is sent where, and the way to a trained model."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chat_server import Chat, chatting
from cli.conftest import Outcome
from fr_reranker_plugin.training.examples import read_examples

PASSAGES = ["La naissance se déclare à la mairie.", "La plainte se dépose en ligne.", "Le préavis est d'un mois."]


@pytest.fixture
def chat() -> Iterator[Chat]:
    with chatting() as chat:
        yield chat


@pytest.fixture
def documents(tmp_path: Path) -> str:
    lines = [json.dumps({"text": passage}, ensure_ascii=False) for passage in PASSAGES]
    (tmp_path / "notes.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return str(tmp_path / "notes.jsonl")


def test_questions_are_written_to_passages_of_documents(
    run: Callable[..., Outcome], documents: str, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "une-clef\r\n")
    out = tmp_path / "pairs.jsonl.gz"
    asked = ("train-data", "questions", documents, "--out", str(out), "--base-url", chat.url, "--chat-model", "petit",
             "--workers", "1")  # fmt: skip
    chat.answers = ["Où déclarer une naissance ?", (400, b"bad")]
    failed = run(*asked)
    assert failed.code == 1
    assert "400 Bad Request: bad" in failed.err
    assert not out.exists()
    done = run(*asked)
    assert done.code == 0, done.err
    assert f"sending 3 of 3 passages to {chat.url}" in done.err
    assert len(chat.requests) == 4
    assert {headers["Authorization"] for headers, _ in chat.requests} == {"Bearer une-clef"}
    assert len(list(read_examples(out))) == 5
    assert {path.name for path in tmp_path.iterdir()} == {"notes.jsonl", "pairs.jsonl.gz"}
    again = run(*asked)
    assert again.code == 2
    assert "is there already" in again.err


def test_without_an_address_nothing_is_sent(run: Callable[..., Outcome], documents: str, tmp_path: Path) -> None:
    done = run("train-data", "questions", documents, "--out", str(tmp_path / "pairs.jsonl"))
    assert done.code == 2
    assert "--base-url" in done.err
