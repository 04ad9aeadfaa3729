"""The command line `fr-reranker`: parse, call, print. Every room is imported inside the command that needs it."""

from __future__ import annotations

import io
import os
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from fr_reranker_plugin.errors import CollectionError, MissingDependencyError, RerankerError, SettingsError

_YOUR_INPUT: Final = (SettingsError, CollectionError, MissingDependencyError)
_FAILED, _WRONG_INPUT, _INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    :param argv: The arguments; `None` takes those of the process.
    :return: 0 done, 1 something in the world failed (a model, the network), 2 your input was wrong, 130 interrupted.
    """
    _prepare_streams()
    try:
        from fr_reranker_plugin.cli.app import run

        code = run(argv)
        sys.stdout.flush()
    except RerankerError as error:
        print(f"fr-reranker: {error}", file=sys.stderr)
        return _WRONG_INPUT if isinstance(error, _YOUR_INPUT) else _FAILED
    except BrokenPipeError:
        _leave_closed_pipe()
        return _FAILED
    except (OSError, sqlite3.OperationalError) as error:  # a full disk, a place that cannot be written to
        print(f"fr-reranker: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _prepare_streams() -> None:
    """Write UTF-8 to files and pipes; on a terminal, replace what its encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="replace")


def _leave_closed_pipe() -> None:
    """Point stdout nowhere, so that Python does not complain once more when it flushes at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
