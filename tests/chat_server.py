"""A chat model that is a server on this machine, in the shape of OpenAI's chat completions."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DEFAULT_ANSWER = "1. Où déclarer une naissance ?\n- « Qui déclare un enfant ? »"

BROKEN_OFF = "broken off"
"""An answer whose body ends before its length says."""


class Chat:
    """What the server was asked, and what it answers next: a text, or a code with a body."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], dict]] = []
        self.answers: list[str | tuple[int, bytes]] = []
        self.url = ""

    def next_answer(self) -> tuple[int, bytes]:
        answer = self.answers.pop(0) if self.answers else DEFAULT_ANSWER
        if isinstance(answer, tuple):
            return answer
        return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": answer}}]}).encode()


@contextmanager
def chatting() -> Iterator[Chat]:
    """Run the server as long as the block."""
    chat = Chat()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            chat.requests.append((dict(self.headers), body))
            missing = 10 if chat.answers[:1] == [BROKEN_OFF] else 0
            code, content = chat.next_answer()
            self.send_response(code)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(content) + missing))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    chat.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield chat
    finally:
        server.shutdown()
        thread.join(30)
        server.server_close()
