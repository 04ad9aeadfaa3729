"""`fr-reranker demo` shows real rankings of the sample collection before and after."""

import re
from pathlib import Path

import pytest

from encoders import E5_PROMPTS, build_bi_encoder
from fr_reranker_plugin.cli.comparison import Candidate, Question, choose_questions, compare
from fr_reranker_plugin.cli.demo_tables import arrow
from fr_reranker_plugin.collections import Collection, load_collection, sample_folder
from fr_reranker_plugin.evaluation.ranking_measures import ndcg, reciprocal_rank
from fr_reranker_plugin.scoring.candidates import Scored

pytestmark = pytest.mark.usefixtures("no_model_left")


@pytest.fixture(scope="module")
def sample() -> Collection:
    return load_collection(sample_folder())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> list[str]:
    """Options that put tiny random models in both places."""
    encoder = build_bi_encoder(tmp_path_factory.mktemp("encoder"), prompts=E5_PROMPTS)
    return ["--model", tiny_model, "--first-stage", str(encoder), "--device", "cpu"]


def test_the_report_holds_both_rankings_of_each_question(tiny: list[str], sample: Collection, run) -> None:
    done = run("demo", "--json", "--no-summary", "--first-stage-weight", "0", *tiny)
    assert (done.code, done.err) == (0, "")
    report = done.json
    assert len(report["questions"]) == 3
    assert report["summary"] is None
    for shown in report["questions"]:
        before, after = shown["first_stage"], shown["reranked"]
        assert shown["question"] == sample.queries[shown["id"]]
        assert sorted(hit["id"] for hit in before) == sorted(hit["id"] for hit in after)
        assert [hit["rank"] for hit in before] == [hit["rank"] for hit in after] == list(range(1, 21))
        assert [hit["score"] for hit in before] == sorted((hit["score"] for hit in before), reverse=True)
        assert [hit["logit"] for hit in after] == sorted((hit["logit"] for hit in after), reverse=True)
        place = {hit["id"]: hit["rank"] for hit in before}
        assert all(hit["moved"] == place[hit["id"]] - hit["rank"] for hit in after)
        assert all(hit["grade"] == sample.qrels[shown["id"]].get(hit["id"]) for hit in after)


def test_the_summary_measures_every_judged_question(tiny: list[str], sample: Collection, run) -> None:
    everything = run("demo", "--json", "--candidates", "5", "--questions", "999", *tiny).json
    some = run("demo", "--json", "--candidates", "5", "--questions", "2", *tiny).json
    assert len(everything["questions"]) == everything["summary"]["questions"] == len(sample.queries)
    assert everything["summary"]["first_stage_weight"] == 0.5
    for stage in ("first_stage", "reranked"):
        assert some["summary"][stage] == pytest.approx(everything["summary"][stage])
        ids = {shown["id"]: [hit["id"] for hit in shown[stage]] for shown in everything["questions"]}
        gains = [ndcg(ranking, sample.qrels[name], at=10) for name, ranking in ids.items()]
        ranks = [reciprocal_rank(ranking, sample.qrels[name], at=10) for name, ranking in ids.items()]
        assert everything["summary"][stage]["ndcg_at_10"] == pytest.approx(sum(gains) / len(gains))
        assert everything["summary"][stage]["mrr_at_10"] == pytest.approx(sum(ranks) / len(ranks))


def test_the_tables_stay_within_the_width(tiny: list[str], run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    done = run("demo", "--questions", "1", "--rows", "4", "--candidates", "6", *tiny)
    assert (done.code, done.err) == (0, "")
    assert all(len(line) <= 100 for line in done.out.splitlines())
    assert re.search(r"^1 +0\.\d{3}", done.out, re.MULTILINE)
    assert not re.search(r"^5 ", done.out, re.MULTILINE)
    for title in ("first stage alone", "reranked by the cross-encoder alone", "reranked by both"):
        assert re.search(rf"^  {title} +nDCG@10 0\.\d{{3}}, MRR@10 0\.\d{{3}}$", done.out, re.MULTILINE)
    assert "passages encoded in" in done.out


def test_the_cross_encoder_alone_is_measured_beside_both_stages(tiny: list[str], run) -> None:
    options = ("demo", "--json", "--candidates", "20", "--questions", "1", *tiny)
    both, alone = (run(*options, "--first-stage-weight", weight).json["summary"] for weight in ("0.5", "0"))
    assert alone["cross_encoder"] == alone["reranked"] == pytest.approx(both["cross_encoder"])
    assert both["reranked"] != pytest.approx(both["cross_encoder"])


def test_a_question_of_your_own_has_no_judgements_and_no_summary(tiny: list[str], run) -> None:
    report = run("demo", "--json", "--question", "Où jeter mes piles ?", *tiny).json
    [shown] = report["questions"]
    assert (shown["id"], shown["question"], report["summary"]) == (None, "Où jeter mes piles ?", None)
    assert all(hit["grade"] is None for hit in shown["reranked"])


def test_the_questions_shown_are_spread_over_the_sample(sample: Collection) -> None:
    chosen = choose_questions(sample, number=3, ids=[], texts=[])
    names = list(sample.queries)
    assert [question.id for question in chosen] == [names[0], names[22], names[44]]
    asked = choose_questions(sample, number=3, ids=["q07"], texts=["Où ?"])
    assert asked == [Question(sample.queries["q07"], "q07"), Question("Où ?")]


def test_moves_count_places_upwards(sample: Collection) -> None:
    names = list(sample.corpus)[:3]
    candidates = [Candidate(name, 0.9 - at / 10) for at, name in enumerate(names)]
    shown = compare(sample, Question("Où ?"), candidates, Scored([-1.0, 0.0, 3.0], {1}))
    assert [(hit.passage, hit.moved, hit.truncated) for hit in shown.reranked] == [
        (names[2], 2, False),
        (names[1], 0, True),
        (names[0], -2, False),
    ]
    assert [arrow(hit.moved) for hit in shown.reranked] == ["↑ 2", "=", "↓ 2"]


def test_the_sample_is_that_of_the_repository_or_of_the_package() -> None:
    repository = Path(__file__).parents[2] / "examples" / "sample_collection"
    assert (sample_folder() / "corpus.jsonl").read_bytes() == (repository / "corpus.jsonl").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(900)  # encodes 327 passages: minutes on busy cores
def test_the_embedded_models_answer_without_network(run) -> None:
    done = run("demo", "--json", "--question", "Comment déclarer une naissance à la mairie ?", "--device", "cpu")
    assert (done.code, done.err) == (0, "")
    [shown] = done.json["questions"]
    for stage in ("first_stage", "reranked"):
        assert "etat-civil-001" in [hit["id"] for hit in shown[stage][:5]]
