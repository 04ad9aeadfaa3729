"""`GET /`: a page that shows a question, what the first stage found, and what reranking made of it."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Response

_MEDIA_TYPES: Final = {"css": "text/css", "html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}
_FILES: Final = {
    "/": "index.html",
    "/page/style.css": "style.css",
    "/page/icon.svg": "icon.svg",
    "/page/page.js": "page.js",
    "/page/results.js": "results.js",
    "/page/lines.js": "lines.js",
    "/page/words.js": "words.js",
}
PATHS: Final = frozenset(_FILES)
"""Where the page and its parts are: without a key, since a browser has none yet, and they say nothing of the index."""

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

router = APIRouter(include_in_schema=False)


def _serve(path: str, name: str) -> None:
    content = (files("fr_reranker_plugin.serving") / "page" / name).read_bytes()
    media_type = _MEDIA_TYPES[name.rpartition(".")[2]]

    @router.get(path)
    async def answer() -> Response:
        return Response(content, media_type=f"{media_type}; charset=utf-8", headers=_HEADERS)


for _path, _name in _FILES.items():
    _serve(_path, _name)
