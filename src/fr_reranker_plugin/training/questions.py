"""Questions that a chat model writes to passages: training pairs where nobody has asked yet."""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from fr_reranker_plugin.collections.lines import read_jsonl
from fr_reranker_plugin.scoring.texts import encodable
from fr_reranker_plugin.training.examples import TrainingExample

PROMPT: Final = """Voici un passage d'un document :

{passage}

Écris {count} questions auxquelles ce passage répond, comme les poserait une personne qui cherche l'information et qui \
n'a jamais vu ce passage : avec ses propres mots, certaines courtes, certaines familières. Chaque question doit se \
comprendre seule. N'évoque ni le passage, ni le texte, ni le document. Une question par ligne, sans numéro ni \
commentaire."""

_MARKS: Final = re.compile(r"^(?:[-*•–]|\d+\s*[.):-])\s+|^[\"«“\s]+|[\"»”\s]+$")
_POINTS_AT_THE_TEXT: Final = re.compile(
    r"\b(?:ce|cet|du|le|l['’])\s*(?:texte|passage|extrait|document)\b", re.IGNORECASE
)
_SHORTEST, _LONGEST = 8, 300


class KeptAnswers:
    """What a chat model has answered, in a file that grows line by line: nothing is asked, or paid for, twice.

    :param path: The file; a line that a kill has cut off is ignored.
    :param asked: Who answers and how, see `ChatEndpoint.identity`; what another one answered is not taken.
    """

    def __init__(self, path: Path, asked: str) -> None:
        self._path = path
        self._asked = asked
        self._answers: dict[str, str] = {}
        if path.is_file():
            _drop_cut_line(path)
            self._answers = {row["prompt"]: row["answer"] for _, row in read_jsonl(path)}

    def find(self, prompt: str) -> str | None:
        """Give the answer to a prompt, if it is known."""
        return self._answers.get(self._key(prompt))

    def keep(self, prompt: str, answer: str) -> None:
        """Add an answer."""
        key = self._key(prompt)
        self._answers[key] = answer
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"prompt": key, "answer": answer}, ensure_ascii=False) + "\n")

    def remove(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)

    def _key(self, prompt: str) -> str:
        return hashlib.sha256(f"{self._asked}\n{prompt}".encode()).hexdigest()


def questions_of(answer: str, count: int) -> list[str]:
    """Give the usable questions of an answer, `count` at most.

    Left out is what is no question, is very short or long, stands there twice, or speaks of the text it was made from,
    as nobody does who searches.
    """
    found: dict[str, None] = {}
    for line in answer.splitlines():
        question = _MARKS.sub("", _MARKS.sub("", line.strip())).strip()
        fits = question.endswith("?") and _SHORTEST <= len(question) <= _LONGEST
        if fits and not _POINTS_AT_THE_TEXT.search(question):
            found.setdefault(question)
    return list(found)[:count]


def question_examples(
    passages: Iterable[str], ask: Callable[[str], str], kept: KeptAnswers, *, per_passage: int, workers: int
) -> Iterator[TrainingExample]:
    """Have questions written to passages, and yield a pair for each, in the order of the passages.

    :param passages: Half characters in them become question marks.
    :param ask: Sends a prompt to a chat model and gives its answer; called from several threads.
    :param kept: Answers that are there already, and take the new ones.
    :param per_passage: How many questions to ask for.
    :param workers: How many passages are under way together.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[str, str, Future[str]]] = deque()
        try:
            for passage in map(encodable, passages):
                prompt = PROMPT.format(passage=passage, count=per_passage)
                waiting.append((passage, prompt, _answered(prompt, ask, kept, pool)))
                if len(waiting) >= workers:
                    yield from _pairs(*waiting.popleft(), kept, per_passage)
            while waiting:
                yield from _pairs(*waiting.popleft(), kept, per_passage)
        finally:
            for _, prompt, answer in waiting:
                if not answer.cancel():
                    with suppress(Exception):  # the first failure is being told already
                        _keep(prompt, answer.result(), kept)


def _answered(prompt: str, ask: Callable[[str], str], kept: KeptAnswers, pool: ThreadPoolExecutor) -> Future[str]:
    known = kept.find(prompt)
    if known is None:
        return pool.submit(ask, prompt)
    done: Future[str] = Future()
    done.set_result(known)
    return done


def _pairs(
    passage: str, prompt: str, answer: Future[str], kept: KeptAnswers, per_passage: int
) -> Iterator[TrainingExample]:
    text = answer.result()
    _keep(prompt, text, kept)
    for question in questions_of(text, per_passage):
        yield TrainingExample(question, (passage,), (1.0,))


def _keep(prompt: str, answer: str, kept: KeptAnswers) -> None:
    if kept.find(prompt) is None:
        kept.keep(prompt, answer)


def _drop_cut_line(path: Path) -> None:
    """Cut off what follows the last whole line."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])
