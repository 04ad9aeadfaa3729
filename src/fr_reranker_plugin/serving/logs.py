"""Structured logs: one JSON object a line, without texts and without keys."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Final

_FIELDS: Final = "fields"


def with_fields(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 -- whatever JSON can hold
    """Give the `extra` of a log record that is to have these fields; those that are `None` are left out."""
    return {_FIELDS: {name: value for name, value in fields.items() if value is not None}}


class JsonLines(logging.Formatter):
    """Write a record as one JSON object.

    Of an error its kind and the places it passed through are written, not its message: that may quote a text.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Give the line of a record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info is not None and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["error"] = type(error).__name__
            line["at"] = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        return json.dumps(line, ensure_ascii=False)


def log_as_json(level: int = logging.INFO) -> None:
    """Write logs as JSON lines to standard error: ours from `level` on, those of others if they warn."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("fr_reranker_plugin", "uvicorn"):
        logging.getLogger(name).setLevel(level)
