"""What `fr-reranker serve` refuses before it starts; see tests/serving for what it does then."""

from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--port", "70000"], "--port"),
        (["--keys-file", "absent"], "the file of API keys absent cannot be read"),
        (["--request-timeout", "0"], "request_timeout must be a number of seconds above 0, got 0.0"),
        (["--grace-period", "nan"], "grace_period must be a number of seconds above 0, got nan"),
        (["--dtype", "int3"], "dtype must be one of"),
        (["--sample", "--index", "absent"], "give an index or the sample collection, not both"),
    ],
)
def test_wrong_options_give_one_reason_and_code_2(argv, reason, run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    done = run("serve", *argv)
    assert (done.code, done.out) == (2, "")
    assert reason in done.err


def test_a_key_is_never_an_option(run):
    help_text = run("serve", "--help").out
    assert "--keys-file" in help_text
    assert "--key " not in help_text
    assert "FR_RERANKER_API_KEYS" in help_text


def test_an_environment_without_a_usable_key_is_refused(run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FR_RERANKER_API_KEYS", " , ")
    done = run("serve")
    assert done.code == 2
    assert "FR_RERANKER_API_KEYS holds no API key" in done.err
