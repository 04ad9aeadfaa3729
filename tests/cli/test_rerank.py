"""`fr-reranker rerank` gives the ranking of the library, to people and to machines."""

import json
from pathlib import Path

import pytest

from checkpoints import SENTENCES
from fr_reranker_plugin import ModelSettings, rank_by_score, shared_scorer
from fr_reranker_plugin.scoring.ranking import BLANK_LOGIT, sigmoid

pytestmark = pytest.mark.usefixtures("no_model_left")

QUERY = "Où porter plainte après un vol ?"
LINES = "\n".join(SENTENCES)


@pytest.fixture
def expected(tiny_model: str) -> list[float]:
    """The logits of `SENTENCES` for `QUERY`, from the library."""
    scorer = shared_scorer(ModelSettings(model=tiny_model))
    logits = scorer.score([(QUERY, text) for text in SENTENCES])
    scorer.close()
    return logits


def test_json_holds_the_ranking_of_the_library(expected: list[float], tiny_model: str, run) -> None:
    done = run("rerank", QUERY, "--model", tiny_model, "--json", stdin=LINES)
    assert (done.code, done.err) == (0, "")
    assert [row["rank"] for row in done.json] == [1, 2, 3, 4, 5, 6]
    for row, ranked in zip(done.json, rank_by_score(expected), strict=True):
        assert list(row) == ["rank", "index", "id", "score", "logit", "truncated", "text"]
        assert row["index"] == ranked.index
        assert row["logit"] == pytest.approx(ranked.logit, abs=1e-4)
        assert row["score"] == sigmoid(row["logit"])
        assert (row["id"], row["truncated"], row["text"]) == (None, False, SENTENCES[ranked.index])


def test_the_json_list_has_one_object_a_line(tiny_model: str, run) -> None:
    lines = run("rerank", QUERY, "--model", tiny_model, "--json", stdin=LINES).out.splitlines()
    assert (lines[0], lines[-1]) == ("[", "]")
    assert [json.loads(line.rstrip(","))["rank"] for line in lines[1:-1]] == [1, 2, 3, 4, 5, 6]


def test_raw_scores_are_the_logits(tiny_model: str, run) -> None:
    done = run("rerank", QUERY, "--model", tiny_model, "--json", "--raw-scores", stdin=LINES)
    assert all(row["score"] == row["logit"] for row in done.json)


def test_the_threshold_is_on_the_scale_that_is_shown_and_comes_before_top_k(tiny_model: str, run) -> None:
    everything = run("rerank", QUERY, "--model", tiny_model, "--json", stdin=LINES).json
    third = everything[2]
    kept = run("rerank", QUERY, "--model", tiny_model, "--json", "--threshold", str(third["score"]), stdin=LINES).json
    assert kept == everything[:3]
    kept = run(
        "rerank",
        QUERY,
        "--model",
        tiny_model,
        "--json",
        "--raw-scores",
        "--threshold",
        str(third["logit"]),
        stdin=LINES,
    ).json
    assert [row["index"] for row in kept] == [row["index"] for row in everything[:3]]
    best = run("rerank", QUERY, "--model", tiny_model, "--json", "--top-k", "2", stdin=LINES).json
    assert best == everything[:2]


def test_ids_and_titles_of_objects_come_along(tiny_model: str, run, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        '{"_id": "a", "title": "Vol", "text": "Plainte."}\n{"_id": "b", "text": "Chat."}\n', encoding="utf-8"
    )
    rows = run("rerank", QUERY, str(corpus), "--model", tiny_model, "--json").json
    assert {(row["index"], row["id"], row["text"]) for row in rows} == {(0, "a", "Vol\nPlainte."), (1, "b", "Chat.")}


def test_a_passage_without_text_comes_last_with_score_zero(tiny_model: str, run) -> None:
    passages = json.dumps([{"id": 1, "text": " "}, {"id": 2, "text": "Plainte."}, {"id": 3, "content": None}])
    rows = run("rerank", QUERY, "--model", tiny_model, "--json", stdin=passages).json
    assert [row["id"] for row in rows] == [2, 1, 3]
    assert [(row["score"], row["logit"]) for row in rows[1:]] == [(0.0, BLANK_LOGIT)] * 2


def test_the_same_text_twice_has_the_same_score_and_keeps_its_order(tiny_model: str, run) -> None:
    rows = run("rerank", QUERY, "--model", tiny_model, "--json", stdin="\n".join([*SENTENCES, *SENTENCES])).json
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first["logit"] == second["logit"]
        assert second["index"] == first["index"] + len(SENTENCES)


def test_more_passages_than_one_part_are_scored_each(tiny_model: str, run) -> None:
    texts = [f"{SENTENCES[at % 6]} numéro {at}" for at in range(150)]
    rows = run("rerank", QUERY, "--model", tiny_model, "--json", stdin="\n".join(texts)).json
    assert sorted(row["index"] for row in rows) == list(range(150))
    assert all(row["text"] == texts[row["index"]] for row in rows)
    alone = run("rerank", QUERY, "--model", tiny_model, "--json", stdin=texts[140]).json
    assert alone[0]["logit"] == pytest.approx(next(r["logit"] for r in rows if r["index"] == 140), abs=1e-4)


def test_a_passage_that_was_cut_is_marked(tiny_model: str, run) -> None:
    texts = [f"court {at}" for at in range(100)] + [LINES.replace("\n", " ") * 20]
    done = run("rerank", QUERY, "--model", tiny_model, "--json", stdin="\n".join(texts))
    assert [row["index"] for row in done.json if row["truncated"]] == [100]
    table = run("rerank", QUERY, "--model", tiny_model, stdin="\n".join(texts))
    assert "1 of 101 passages are longer than the model reads" in table.err
    assert sum("*" in line for line in table.out.splitlines()) == 1


@pytest.mark.parametrize("form", [["--json"], []], ids=["json", "table"])
def test_no_passages_load_no_model(form: list[str], run) -> None:
    done = run("rerank", QUERY, "--model", "/there/is/none", *form)
    assert done.code == 0
    assert done.out == ("[]\n" if form else "")
    assert done.err == "fr-reranker: no passages in -; nothing to rerank\n"


def test_the_table_has_one_line_a_passage_within_the_width(
    tiny_model: str, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    done = run("rerank", QUERY, "--model", tiny_model, stdin=LINES)
    lines = done.out.splitlines()
    assert lines[0].split() == ["rank", "score", "index", "passage"]
    assert len(lines) == 7
    assert all(len(line) <= 60 for line in lines)
    assert [line.split()[0] for line in lines[1:]] == list("123456")


def test_nothing_in_a_passage_is_obeyed_by_the_terminal(tiny_model: str, run) -> None:
    done = run("rerank", QUERY, "--model", tiny_model, stdin="[bold]gras[/bold] :smile: \x1b[31mrouge\x07 \x9b2J")
    assert "[bold]gras[/bold] :smile:" in done.out
    assert not {"\x1b", "\x07", "\x9b"} & set(done.out)


def test_colour_is_for_terminals_that_want_it(tiny_model: str, run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[" not in run("rerank", QUERY, "--model", tiny_model, stdin=LINES).out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in run("rerank", QUERY, "--model", tiny_model, stdin=LINES).out


def test_a_broken_line_is_named_before_any_model_is_loaded(run) -> None:
    done = run("rerank", QUERY, "--model", "/there/is/none", stdin='{"text": "a"}\n{"txt": "b"}\n')
    assert (done.code, done.out) == (2, "")
    assert "<stdin>, line 2: expected a string or an object with 'text'" in done.err


def test_the_embedded_model_finds_the_passage_that_answers(run) -> None:
    done = run("rerank", QUERY, "--json", stdin=LINES)
    assert (done.code, done.err) == (0, "")
    assert (
        done.json[0]["text"] == "Où déposer une plainte après un vol ? Au commissariat, à la gendarmerie ou en ligne."
    )
