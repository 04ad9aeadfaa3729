"""Exit codes, streams and cost of the command line as a whole."""

import io
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from fr_reranker_plugin.cli import main

TIMEOUT = 100
HEAVY = ("torch", "transformers", "haystack", "langchain_core", "faiss", "numpy", "rich.progress")


def fr_reranker() -> str:
    """The console script of the environment that runs the tests."""
    script = shutil.which("fr-reranker", path=str(Path(sys.executable).parent))
    assert script is not None, "the package is not installed beside this Python"
    return script


def test_help_loads_no_heavy_library() -> None:
    program = (
        "import sys; from fr_reranker_plugin.cli import main; "
        "codes = [main(['--help']), main(['rerank', '--help']), main(['demo', '--help']), "
        "main(['calibrate', '--help'])]; "
        f"heavy = set({HEAVY!r}) & set(sys.modules); "
        "sys.exit(f'{codes} {heavy}' if any(codes) or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("as_module", [False, True], ids=["script", "module"])
def test_the_console_script_and_the_module_print_the_version(as_module: bool) -> None:
    command = [sys.executable, "-m", "fr_reranker_plugin.cli"] if as_module else [fr_reranker()]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, version("fr-reranker-plugin") + "\n", "")


@pytest.mark.parametrize("command", ["rerank", "score", "info", "demo", "calibrate"])
def test_every_command_has_help_with_the_model_options(command: str, run) -> None:
    done = run(command, "--help")
    assert done.code == 0
    for option in ("--model", "--revision", "--device", "--dtype", "--max-length", "--local-files-only", "--json"):
        assert option in done.out
    assert "--token" not in done.out


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["rerank"], "Missing argument"),
        (["rerank", "q", "--top-k", "0"], "--top-k"),
        (["rerank", "q", "--format", "xml"], "--format"),
        (
            ["rerank", "q", "--dtype", "int3"],
            "dtype must be one of 'auto', 'float32', 'float16', 'bfloat16', 'int8', got 'int3'",
        ),
        (["rerank", "q", "--max-length", "3"], "max_length must be >= 16, but got 3"),
        (["rerank", "q", "--threshold", "nan"], "score_threshold must be a number or None, got nan"),
        (["rerank", "   "], "the query must have text"),
        (["rerank", "q", "absent.txt"], "there is no file absent.txt"),
        (["score", "--max-batch-tokens", "0"], "max_batch_tokens must be >= 1, but got 0"),
        (["info", "--device", "cpu,cuda:0"], "device 'cuda:0' is not here"),
        (["info", "--device", "abacus"], "device must be like 'cpu', 'cuda:0' or 'mps', got 'abacus'"),
        (["demo", "--query-id", "q999"], "there is no question 'q999'; the sample collection has q01 to q67"),
        (["demo", "--question", " "], "a question must have text"),
        (["dance"], "No such command 'dance'"),
    ],
)
def test_wrong_input_gives_one_reason_on_stderr_and_code_2(argv: list[str], reason: str, run) -> None:
    done = run(*argv)
    assert done.code == 2
    assert done.out == ""
    assert reason in done.err
    assert "Traceback" not in done.err


def test_what_fails_in_the_world_gives_code_1(run) -> None:
    done = run("rerank", "q", "--model", "/there/is/none", stdin="un passage")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("fr-reranker: there is no folder '/there/is/none'")
    assert done.err.count("\n") == 1


def test_a_place_that_cannot_be_written_to_is_said_in_one_line(tmp_path: Path, run) -> None:
    (tmp_path / "file").write_text("")
    done = run("evaluate", "--out", str(tmp_path / "file" / "out"))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("fr-reranker: ")
    assert str(tmp_path / "file") in done.err


def test_an_interrupt_gives_code_130_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Interrupted()))
    assert main(["rerank", "q"]) == 130
    assert capsys.readouterr().err == ""


def test_a_reader_that_leaves_early_is_no_news(tiny_model: str, tmp_path: Path) -> None:
    passages = tmp_path / "many.txt"
    passages.write_text("un passage\n" * 2000, encoding="utf-8")  # more than a pipe holds
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    for argv in (["--version"], ["--help"], ["rerank", "q", str(passages), "--model", tiny_model]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [fr_reranker(), *argv],
            stdout=writer,
            stderr=subprocess.PIPE,
            env=buffered,
            timeout=TIMEOUT,
            check=False,
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (1, b""), argv


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_pipe_gets_utf8_whatever_python_was_told(encoding: str, tiny_model: str) -> None:
    done = subprocess.run(
        [fr_reranker(), "rerank", "Où ?", "--model", tiny_model, "--json"],
        input="Été 👨‍👩‍👧 → là".encode(),
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert "Été 👨‍👩‍👧 → là" in done.stdout.decode("utf-8")
