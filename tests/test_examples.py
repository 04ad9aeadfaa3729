"""The examples run offline from a clone, as a reader would run them."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import nbformat
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
RAG = ["haystack_rag.py", "langchain_rag.py"]
QUESTION = "Comment déclarer une naissance à la mairie ?"
SEARCH = "import sys; from fr_reranker_plugin.cli import main; sys.argv.insert(1, 'search'); main()"
EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=300, resources={"metadata": {"path": sys.argv[2]}}).execute()
nbformat.write(notebook, sys.argv[3])
"""


class Endpoint(BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that cites the first passage, whatever it is asked."""

    asked: ClassVar[list[dict]] = []

    def do_POST(self):
        self.asked.append({"path": self.path, **json.loads(self.rfile.read(int(self.headers["Content-Length"])))})
        message = {"role": "assistant", "content": "Dans les cinq jours [1]."}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        body = json.dumps({**reply, "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Keep the tests' output clean."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    Endpoint.asked.clear()
    with HTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join(timeout=10)


def run(*arguments, timeout=280, **variables):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=EXAMPLES,
        env={**clean, **variables},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("example", RAG)
def test_without_an_endpoint_the_prompt_with_its_passages_is_printed(example):
    shown = run(EXAMPLES / example, QUESTION)
    prompt, passages = shown.split("Passages :\n")
    assert f"Question : {QUESTION}" in prompt
    assert "[1] Déclarer une naissance à la mairie\n" in prompt
    assert [line[:3] for line in passages.splitlines()] == ["[1]", "[2]", "[3]", "[4]"]
    scores = [float(line.split()[1]) for line in passages.splitlines()]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("example", RAG)
def test_an_endpoint_reads_the_passages_and_only_those_it_cites_are_listed(example, endpoint):
    shown = run(EXAMPLES / example, QUESTION, OPENAI_BASE_URL=endpoint, OPENAI_MODEL="petit")
    [request] = Endpoint.asked
    assert (request["path"], request["model"]) == ("/v1/chat/completions", "petit")
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    assert "[4] " in str(request["messages"][1]["content"])
    answer, cited = shown.split("Passages cités :\n")
    assert "Dans les cinq jours [1]." in answer
    assert [line[:3] for line in cited.splitlines()] == ["[1]"]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("question", "source"),
    [
        ("Combien de livres puis-je emprunter ?", "bibliotheque.pdf"),
        ("Que faire d'un vieux canapé ?", "dechets.html"),
        ("Le bonnet est-il obligatoire à la piscine ?", "reglement.md"),
    ],
)
def test_own_documents_become_an_index_that_the_command_line_searches(tmp_path, question, source):
    shown = run(EXAMPLES / "vos_documents.py", EXAMPLES / "documents", tmp_path / "index", question).splitlines()
    assert shown[0].endswith("passages from 3 files")
    assert source in shown[2]
    found = json.loads(run("-c", SEARCH, tmp_path / "index", question, "--json", "--method", "bm25"))
    assert found[0]["metadata"]["file_path"].endswith(source)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_own_document_that_was_edited_replaces_what_it_was(tmp_path):
    folder, index = tmp_path / "documents", tmp_path / "index"
    folder.mkdir()
    (folder / "marché.txt").write_text("Le marché se tient place Carnot.", encoding="utf-8")
    for opens in ("samedi", "dimanche"):
        (folder / "piscine.txt").write_text(f"La piscine ouvre le {opens}.", encoding="utf-8")
        run(EXAMPLES / "vos_documents.py", os.path.relpath(folder, EXAMPLES), index, "Quand ouvre la piscine ?")
    found = json.loads(run("-c", SEARCH, index, "Quand ouvre la piscine ?", "--json", "--method", "dense"))
    texts = {passage["text"] for passage in found}
    assert texts == {"Le marché se tient place Carnot.", "La piscine ouvre le dimanche."}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_from_its_first_cell_to_its_last(notebook, tmp_path):
    run("-c", EXECUTE, notebook, EXAMPLES, tmp_path / "executed.ipynb")
    cells = nbformat.read(tmp_path / "executed.ipynb", as_version=4).cells
    assert all(cell.execution_count for cell in cells if cell.cell_type == "code")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_small_and_opens_with_any_python(notebook):
    assert notebook.stat().st_size < 300_000
    assert nbformat.read(notebook, as_version=4).metadata.kernelspec.name == "python3"
