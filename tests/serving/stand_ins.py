"""Small servers that answer as text-embeddings-inference, Jina and Cohere are documented to; none has a model."""

import json
import select
import threading
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from engines import TIMEOUT

Reply = tuple[int, dict[str, str], object]


def logit_of(text: str) -> float:
    """What every stand-in thinks of a text: the longer the better, whatever the question."""
    return len(text) / 8 - 3


class Asked:
    """One request that came."""

    def __init__(self, method, path, headers, body, connection):
        self.method, self.path, self.headers, self.body = method, path, headers, body
        self._connection = connection

    def wait_until_hung_up(self):
        """Return when the client has closed the connection; fail if it does not."""
        ready, _, _ = select.select([self._connection], [], [], TIMEOUT)
        assert ready
        assert self._connection.recv(1) == b""


class StandIn:
    """A server that answers with whatever `reply` gives.

    :ivar asked: The requests that came, in their order.
    """

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.server = server
        self.asked: list[Asked] = []
        self.url = f"http://127.0.0.1:{server.server_address[1]}"

    def bodies(self, path):
        return [one.body for one in self.asked if one.path == path]


@contextmanager
def stand_in(reply: Callable[[Asked], Reply]):
    """Run a stand-in until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = Asked(
                self.command, self.path, self.headers, json.loads(content) if content else None, self.connection
            )
            running.asked.append(asked)
            status, headers, answer = reply(asked)
            written = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        do_GET = do_POST  # noqa: N815 -- the name that http.server looks for

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # clients that hang up
    running = StandIn(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def as_tei(asked: Asked, most: int = 32) -> Reply:
    """Answer as text-embeddings-inference 1.8: its own names of errors, and 413 for what does not validate."""
    if asked.path == "/info":
        return 200, {}, {
            "model_id": "BAAI/bge-reranker-v2-m3", "model_sha": None, "model_dtype": "float16",
            "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
            "max_concurrent_requests": 512, "max_input_length": 512, "max_batch_tokens": 16384,
            "max_batch_requests": None, "max_client_batch_size": most, "auto_truncate": False,
            "tokenization_workers": 8, "version": "1.8.2", "sha": None, "docker_label": None,
        }  # fmt: skip
    if asked.path != "/rerank":
        return 404, {}, b""
    texts = asked.body["texts"]
    if len(texts) > most:
        message = f"batch size {len(texts)} > maximum allowed batch size {most}"
        return 413, {}, {"error": message, "error_type": "Validation"}
    assert asked.body["raw_scores"] is asked.body["truncate"] is True
    return 200, {}, best_first([{"index": i, "score": logit_of(text)} for i, text in enumerate(texts)], "score")


def as_jina(asked: Asked) -> Reply:
    """Answer as Jina does."""
    if asked.path != "/v1/rerank":
        return 404, {}, {"detail": "Not Found"}
    if "model" not in asked.body:
        return 422, {}, {"detail": "Field required: model"}
    results = relevance(asked.body)
    if asked.body.get("return_documents", True):
        results = [{**one, "document": {"text": asked.body["documents"][one["index"]]}} for one in results]
    usage = {"total_tokens": 100}
    return 200, {}, {"model": asked.body["model"], "object": "list", "usage": usage, "results": results}


def as_cohere(asked: Asked) -> Reply:
    """Answer as the second version of Cohere's interface does: unknown fields are errors."""
    if asked.path != "/v2/rerank":
        return 404, {}, {"message": "not found"}
    unknown = asked.body.keys() - {"model", "query", "documents", "top_n", "max_tokens_per_doc", "priority"}
    if unknown or "model" not in asked.body:
        return 400, {}, {"message": f"invalid request: {unknown or 'model is required'}"}
    meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
    return 200, {}, {"id": "8f1a", "results": relevance(asked.body), "meta": meta}


def relevance(body):
    from fr_reranker_plugin.scoring.ranking import sigmoid

    documents = body["documents"]
    scores = [{"index": i, "relevance_score": sigmoid(logit_of(text))} for i, text in enumerate(documents)]
    return best_first(scores, "relevance_score")[: body.get("top_n", len(documents))]


def best_first(results, name):
    return sorted(results, key=lambda one: -one[name])
