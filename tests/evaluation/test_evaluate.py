"""An evaluation from candidates to report: the same however it is fed, interrupted or not."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import pytest

import small_collections as small
from fr_reranker_plugin import CollectionError, IndexLockedError, ModelSettings, SettingsError
from fr_reranker_plugin.collections import JudgedCollection, open_collection, open_files
from fr_reranker_plugin.evaluation.evaluate import Plan, evaluated
from fr_reranker_plugin.evaluation.evaluation import Block, EvaluationSettings, ScoreBlocks
from fr_reranker_plugin.evaluation.first_stages import FirstStages
from fr_reranker_plugin.evaluation.markdown import as_markdown
from fr_reranker_plugin.evaluation.plots import draw
from fr_reranker_plugin.evaluation.report import Measured, as_report
from fr_reranker_plugin.evaluation.run_files import write_runs
from fr_reranker_plugin.scoring.checkpoint import embedded_checkpoint
from fr_reranker_plugin.scoring.ranking import BLANK_LOGIT, rank_by_score
from fr_reranker_plugin.scoring.scorer import Logits

SCRIPT = Path(__file__).parents[1] / "evaluation_process.py"


def invented(settings: ModelSettings) -> ScoreBlocks:
    """Give a logit that depends on the pair alone."""

    def score(blocks: Iterator[Block]) -> Iterator[tuple[Block, Logits]]:
        for block in blocks:
            yield block, Logits([crc32(" ".join(pair).encode()) / 2**31 - 1 for pair in block.pairs])

    return score


@pytest.fixture
def plan(tiny_model: str, tmp_path: Path) -> Callable[..., Plan]:
    def made(
        collection: JudgedCollection | None = None,
        names: tuple[str, ...] = ("given",),
        score: Callable[[ModelSettings], ScoreBlocks] = invented,
        **settings: object,
    ) -> Plan:
        return Plan(
            collection=collection or open_collection(str(small.write_beir(tmp_path / "beir"))),
            models=(ModelSettings(model=tiny_model),),
            first_stages=FirstStages(names=names),
            settings=EvaluationSettings(**{"pools": (3, 6), **settings}),
            score_elsewhere=score,
        )

    return made


def means(measured: Measured) -> dict[tuple[str | None, int | None], dict[str, float]]:
    return {(row.model, row.pool): {name: row.mean(name, seed=0).value for name in row.values} for row in measured.rows}


WAYS = {
    "BEIR with JSONL lists": (small.write_pool_lists, True),
    "files with top1000": (small.write_top1000, False),
    "BEIR with a TREC run": (small.write_trec_run, True),
    "files with an MS MARCO run": (small.write_ms_marco_run, False),
}


def test_the_pool_protocol_gives_the_same_figures_in_every_form(plan: Callable[..., Plan], tmp_path: Path) -> None:
    found = {}
    for way, (write, in_a_folder) in WAYS.items():
        folder = tmp_path / way
        lists = write(folder / "lists")
        if in_a_folder:
            collection = open_collection(str(small.write_beir(folder / "beir")), candidates=lists)
        else:
            collection = open_files(
                corpus=small.write_collection_tsv(folder / "c.tsv"), queries=small.write_queries_tsv(folder / "q.tsv"),
                qrels=small.write_trec_qrels(folder / "qrels"), candidates=lists, name=way,
            )  # fmt: skip
        with evaluated(plan(collection, protocol="pool", pools=(None,)), folder / "out") as measured:
            found[way] = next(value for (model, _), value in means(measured).items() if model is not None)
            assert all(row.ceiling == 1.0 for row in measured.rows if row.model)
    first, *others = found.values()
    assert all(other == first for other in others)
    assert 0 < first["RR@10"] < 1


@pytest.mark.parametrize("protocol", ["pool", "two-stage"])
def test_which_of_unordered_candidates_are_reranked_does_not_hang_on_their_file(
    plan: Callable[..., Plan], tmp_path: Path, protocol: str
) -> None:
    found = []
    for write in (small.write_pool_lists, small.write_top1000):
        lists = write(tmp_path / write.__name__)
        made = plan(open_collection(str(small.write_beir(tmp_path / "beir")), candidates=lists), protocol=protocol)
        with evaluated(made, tmp_path / f"{write.__name__}-out") as measured:
            page = as_markdown(as_report(measured))
            key = next(iter(measured.models.values())).key
            found.append([list(measured.evaluation.rankings("given", key, pool)) for pool in (3, 6)])
    assert found[0] == found[1]
    assert ("these are figures of a pool" in page) == (protocol == "two-stage")


def test_two_stages_do_not_credit_what_the_first_one_missed(plan: Callable[..., Plan], tmp_path: Path) -> None:
    missing = [
        line
        for line in small.write_trec_run(tmp_path / "run").read_text().splitlines()
        if not line.startswith("301 Q0 1 ")
    ]
    run = small.write_lines(tmp_path / "run", missing)
    collection = open_collection(str(small.write_beir(tmp_path / "beir")), candidates=run)
    with evaluated(plan(collection, pools=(None,)), tmp_path / "two") as measured:
        missed = next(row for row in measured.rows if row.model)
        assert missed.values["R@100"]["301"] == 0.5  # one of its two passages
        assert missed.ceiling == pytest.approx((7 + 0.5) / 8)
    with evaluated(plan(collection, pools=(None,), protocol="pool"), tmp_path / "pool") as measured:
        guaranteed = next(row for row in measured.rows if row.model)
        assert guaranteed.values["R@100"]["301"] == 1.0
        assert guaranteed.ceiling == 1.0


def test_a_first_stage_that_ranks_is_measured_alone_too(plan: Callable[..., Plan], tmp_path: Path) -> None:
    with evaluated(plan(names=("bm25",)), tmp_path / "out") as measured:
        rows = {(row.model is None, row.pool) for row in measured.rows}
        report = as_report(measured)
    assert rows == {(True, None), (False, 3), (False, 6)}
    change = report["rows"][1]["change"]
    assert change["queries_better"] + change["queries_worse"] <= len(small.QUERIES)
    assert change["value"] == pytest.approx(
        report["rows"][1]["measures"]["nDCG@10"]["value"] - report["rows"][0]["measures"]["nDCG@10"]["value"], abs=2e-6
    )
    lists = open_collection(str(tmp_path / "beir"), candidates=small.write_pool_lists(tmp_path / "lists"))
    with evaluated(plan(lists), tmp_path / "lists-out") as measured:
        assert all(row.model is not None for row in measured.rows)


def test_a_pool_is_not_compared_with_a_first_stage_that_had_to_find_its_candidates(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    with evaluated(plan(names=("bm25",), protocol="pool"), tmp_path / "out") as measured:
        report = as_report(measured)
        plots = {path.name for path in draw(measured, tmp_path)}
    assert [row["model"] is None for row in report["rows"]] == [True, False, False]
    assert not any("change" in row for row in report["rows"])
    assert report["made_worse"] == []
    assert "the difference is not what reranking gains" in as_markdown(report)
    assert not any(name.startswith("questions") for name in plots)


def test_each_model_is_measured_with_and_without_the_order_of_the_first_stage(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    with evaluated(plan(names=("bm25",), first_stage_weight=0.5), tmp_path / "out") as measured:
        rows = [(row.model is None, row.pool, row.weight) for row in measured.rows]
        assert rows == [(True, None, 0), (False, 3, 0), (False, 3, 0.5), (False, 6, 0), (False, 6, 0.5)]
        blended_row = measured.rows[-1]
        key = next(iter(measured.models.values())).key
        for rankings in measured.evaluation.rankings("bm25", key, 6, 0.5):
            for query, ranking in rankings.items():
                pool = measured.evaluation.pool("bm25", query, 6)
                logits = [measured.evaluation.logits(key, query)[one] for one in pool]
                expected = [pool[one.index] for one in rank_by_score(logits, first_stage_weight=0.5)]
                assert ranking[: len(pool)] == expected
        page = as_markdown(as_report(measured))
        plots = {path.name for path in draw(measured, tmp_path)}
    assert f"{blended_row.model}, first 6 reranked, 0.5 first stage |" in page
    assert "quality-by-depth.png" in plots


def test_a_pool_has_no_order_that_could_count() -> None:
    with pytest.raises(SettingsError, match="two-stage"):
        EvaluationSettings(protocol="pool", first_stage_weight=0.5)


def test_other_tools_measure_our_run_files_alike(plan: Callable[..., Plan], tmp_path: Path) -> None:
    import ir_measures

    with evaluated(plan(names=("bm25",), first_stage_weight=0.5), tmp_path / "out") as measured:
        qrels = {query: dict(grades) for query, grades in measured.evaluation.collection.qrels.items()}
        for path, row in zip(write_runs(measured, tmp_path / "runs"), measured.rows, strict=True):
            run = list(ir_measures.read_trec_run(str(path)))
            assert len(run) == sum(
                len(one) for one in measured.evaluation.rankings(row.stage, None, None) for one in one.values()
            )
            found = ir_measures.calc_aggregate([ir_measures.nDCG @ 10, ir_measures.AP], qrels, run)
            for measure, value in found.items():
                assert value == pytest.approx(row.mean(str(measure), seed=0).value, abs=1e-9)


def test_a_run_that_has_no_form_keeps_no_other_from_being_written(plan: Callable[..., Plan], tmp_path: Path) -> None:
    folder = small.write_beir(tmp_path / "spaced")
    for path in (folder / "corpus.jsonl", folder / "qrels" / "test.tsv"):
        path.write_text(path.read_text(encoding="utf-8").replace('"59"', '"5 9"'), encoding="utf-8")
    spaced = small.write_lines(tmp_path / "lists", ['{"qid": 300, "pos": ["0"], "neg": ["5 9"]}'])
    clean = small.write_lines(tmp_path / "run", ["300 Q0 0 1 2.0 x"])
    collection, written = open_collection(str(folder), candidates=spaced), []
    with evaluated(plan(collection, names=("given", str(clean)), pools=(None,)), tmp_path / "out") as measured:
        with pytest.raises(CollectionError, match="'5 9'"):
            written.extend(write_runs(measured, tmp_path / "runs"))
        assert [row.stage for row in measured.rows if row.stage == "given"]
    assert sorted((tmp_path / "runs").iterdir()) == sorted(written)
    assert len(written) == len([row for row in measured.rows if row.stage != "given"])


def test_a_second_run_scores_nothing_and_a_larger_pool_only_what_is_new(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    counted: list[int] = []

    def counting(settings: ModelSettings) -> ScoreBlocks:
        def score(blocks: Iterator[Block]) -> Iterator[tuple[Block, Logits]]:
            for block, logits in invented(settings)(blocks):
                counted.append(len(block.pairs))
                yield block, logits

        return score

    scored = []
    for pools in ((3,), (3,), (3, 6), (6,)):
        counted.clear()
        with evaluated(plan(names=("bm25",), score=counting, pools=pools), tmp_path / "out") as measured:
            scored.append(sum(counted))
            known = measured.evaluation.truncated(next(iter(measured.models.values())).key).pairs
    assert scored[0] > 0
    assert scored[1] == scored[3] == 0
    assert scored[0] + scored[2] == known


def test_a_deeper_search_or_another_file_replaces_the_candidates(plan: Callable[..., Plan], tmp_path: Path) -> None:
    run = small.write_trec_run(tmp_path / "run")

    def first(made: Plan) -> list[str]:
        with evaluated(made, tmp_path / "out") as measured:
            return measured.evaluation.candidates(made.first_stages.names[0], "300")

    before = first(plan(names=(str(run),)))
    small.write_lines(run, ["300 Q0 33 1 2.0 x"])
    assert before != ["33"] == first(plan(names=(str(run),)))
    shallow = FirstStages()
    assert shallow.identity("bm25", 50) == shallow.identity("bm25", 100) != shallow.identity("bm25", 101)


def test_candidates_are_those_of_the_weights_and_not_of_their_name(tiny_model: str, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "encoder")
    stages = FirstStages(encoder=ModelSettings(model=str(folder)))
    before = stages.identity("dense", 50)
    moved = FirstStages(encoder=ModelSettings(model=tiny_model, device="cpu", local_files_only=True))
    assert moved.identity("dense", 50) == before
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert stages.identity("dense", 50) != before


def test_the_embedded_encoder_is_known_by_its_own_weights(tmp_path: Path) -> None:
    copied = shutil.copytree(embedded_checkpoint("bi_encoder"), tmp_path / "copied")
    of_copy = FirstStages(encoder=ModelSettings(model=str(copied)))
    assert FirstStages().identity("dense", 50) == of_copy.identity("dense", 50)


def test_models_of_one_name_have_run_files_of_their_own(plan: Callable[..., Plan], tiny_model: str, tmp_path: Path):
    models = [shutil.copytree(tiny_model, tmp_path / owner / "final") for owner in ("mine", "yours")]
    both = replace(plan(names=("bm25",)), models=tuple(ModelSettings(model=str(model)) for model in models))
    with evaluated(both, tmp_path / "out") as measured:
        runs = [path.name for path in write_runs(measured, tmp_path / "runs")]
    assert len(set(runs)) == len(runs) == len(measured.rows) == 5
    assert "bm25-mine-final-3.trec" in runs


def test_passages_without_text_come_last_and_are_not_read(plan: Callable[..., Plan], tmp_path: Path) -> None:
    folder = small.write_beir(tmp_path / "beir")
    lines = [line.replace(small.PASSAGES["1"], " ") if '"_id": "1"' in line else line
             for line in (folder / "corpus.jsonl").read_text().splitlines()]  # fmt: skip
    small.write_lines(folder / "corpus.jsonl", lines)
    collection = open_collection(str(folder), candidates=small.write_trec_run(tmp_path / "run"))
    with evaluated(plan(collection, pools=(None,)), tmp_path / "out") as measured:
        key = next(iter(measured.models.values())).key
        assert measured.evaluation.logits(key, "301")["1"] == BLANK_LOGIT
        rankings = next(iter(measured.evaluation.rankings("given", key, None)))
        assert rankings["301"][-1] == "1"
        assert len(list(write_runs(measured, tmp_path / "runs"))) == 2


def test_several_models_are_compared_on_the_same_candidates(
    tiny_model: str, checkpoint_of: Callable[[str], Path], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    models = (ModelSettings(model=tiny_model), ModelSettings(model=str(checkpoint_of("camembert"))))
    both = replace(plan(names=("bm25",)), models=models, score_elsewhere=None)
    with evaluated(both, tmp_path / "out") as measured:
        assert {row.model for row in measured.rows} == {None, *(one.model for one in both.models)}
        assert all(len(found) == 2 for found in measured.latencies.values())
        assert all(one.p50 <= one.p95 for found in measured.latencies.values() for one in found)
        assert len({facts.key for facts in measured.models.values()}) == 2
        report = as_report(measured)
    by_model = {(row["model"], row["pool"]): row for row in report["rows"]}
    first, second = (one.model for one in both.models)
    for pool in (3, 6):
        compared = by_model[second, pool]["change_from_first_model"]
        means = [by_model[model, pool]["measures"]["nDCG@10"]["value"] for model in (second, first)]
        assert compared["value"] == pytest.approx(means[0] - means[1], abs=2e-6)
        assert "change_from_first_model" not in by_model[first, pool]
    assert f"## Compared with {first}, on the same candidates" in as_markdown(report)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_reports_the_same(tiny_model: str, tmp_path: Path) -> None:
    collection = str(small.write_beir(tmp_path / "beir"))

    def process(folder: str, kept: Path, blocks: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), tiny_model, collection, str(tmp_path / folder), str(kept), str(blocks)]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    undisturbed = process("whole", tmp_path / "whole.kept", 0)
    assert undisturbed.returncode == 0, undisturbed.stderr
    for blocks in (1, 4):
        killed = process("killed", tmp_path / "killed.kept", blocks)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = process("killed", tmp_path / "killed.kept", 0)
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout) == json.loads(undisturbed.stdout)
    kept = (tmp_path / "killed.kept").read_text().splitlines()
    assert len(kept) == len(set(kept))
    assert set(kept) == set((tmp_path / "whole.kept").read_text().splitlines())


def test_the_bi_encoder_is_a_first_stage_and_its_index_is_kept(plan: Callable[..., Plan], tmp_path: Path) -> None:
    from fr_reranker_plugin.evaluation.first_stages import open_or_build_index
    from fr_reranker_plugin.retrieval.shared_encoder import SharedEncoder

    made = plan(names=("dense", "hybrid"))
    with evaluated(made, tmp_path / "out") as measured:
        assert {row.stage for row in measured.rows} == {"dense", "hybrid"}
    encoded: list[int] = []
    encoder = SharedEncoder(ModelSettings(model="embedded"))
    encode = encoder.encode_passages
    encoder.encode_passages = lambda texts: encoded.append(len(texts)) or encode(texts)  # type: ignore[method-assign]
    open_or_build_index(made.collection, tmp_path / "out" / "index", encoder, lambda _: None).close()
    assert sum(encoded) == 0
    open_or_build_index(made.collection, tmp_path / "new", encoder, lambda _: None).close()
    assert sum(encoded) == len(small.PASSAGES)
    encoder.close()


def test_an_index_that_is_saved_on_the_way_is_gone_on_with_and_its_words_are_built_once(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fr_reranker_plugin.evaluation import first_stages
    from fr_reranker_plugin.retrieval.lexical_index import LexicalIndex
    from fr_reranker_plugin.retrieval.shared_encoder import SharedEncoder

    collection, built, encoded = plan(names=("hybrid",)).collection, [], []
    encoder = SharedEncoder(ModelSettings(model="embedded"))
    encode, build = encoder.encode_passages, LexicalIndex.build
    monkeypatch.setattr(encoder, "encode_passages", lambda texts: encoded.extend(texts) or encode(texts))
    monkeypatch.setattr(LexicalIndex, "build", lambda *given, **named: built.append(1) or build(*given, **named))
    monkeypatch.setattr(first_stages, "_SECONDS_BETWEEN_SAVES", -1.0)
    monkeypatch.setattr(first_stages, "_ADDED_AT_ONCE", 2)

    def stop_after_the_second(_: int) -> None:
        if len(encoded) > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first_stages.open_or_build_index(collection, tmp_path, encoder, stop_after_the_second)
    assert built == []
    encoded[4:] = []
    first_stages.open_or_build_index(collection, tmp_path, encoder, lambda _: None).close()
    assert sorted(encoded) == sorted(passage.full_text for _, passage in collection.passages())
    assert built == [1]
    encoder.close()


def test_a_folder_belongs_to_one_collection_and_one_process(plan: Callable[..., Plan], tmp_path: Path) -> None:
    made = plan(names=("bm25",))
    with (
        evaluated(made, tmp_path / "out"),
        pytest.raises(IndexLockedError, match="in process"),
        evaluated(made, tmp_path / "out"),
    ):
        pass
    other = made.collection.sample(2)
    with pytest.raises(SettingsError, match="another collection"), evaluated(plan(other, ("bm25",)), tmp_path / "out"):
        pass


def test_candidates_that_are_wrong_leave_nothing_behind(plan: Callable[..., Plan], tmp_path: Path) -> None:
    twice = small.write_lines(tmp_path / "twice", ["300 Q0 1 1 2.0 x", "300 Q0 1 2 1.0 x"])
    unknown = small.write_lines(tmp_path / "unknown", ["300 Q0 nobody 1 2.0 x"])
    good = small.write_trec_run(tmp_path / "good")
    with (
        pytest.raises(CollectionError, match="'1' stands twice among the candidates of '300'"),
        evaluated(plan(names=(str(twice),)), tmp_path / "a"),
    ):
        pass
    with (
        pytest.raises(CollectionError, match="'nobody' is a candidate"),
        evaluated(plan(names=(str(unknown),)), tmp_path / "b"),
    ):
        pass
    corrected = small.write_trec_run(unknown)
    for names, folder in [((str(good),), "a"), ((str(good),), "b"), ((str(corrected), "bm25"), "b")]:
        with evaluated(plan(names=names), tmp_path / folder) as measured:
            assert measured.evaluation.candidates(names[0], "300")
    with pytest.raises(SettingsError, match="comes without candidate lists"), evaluated(plan(), tmp_path / "c"):
        pass
    with (
        pytest.raises(SettingsError, match="say how many to rerank"),
        evaluated(plan(names=("bm25",), pools=(None,)), tmp_path / "d"),
    ):
        pass


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"pools": ()}, "pools must be different numbers"),
        ({"pools": (5, 5)}, "pools must be different numbers"),
        ({"pools": (0,)}, "a pool must be >= 1"),
        ({"measures": ("Treffer",)}, "there is no measure"),
        ({"checkpoint_every": 0}, "checkpoint_every must be >= 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        EvaluationSettings(**settings)


def test_what_is_published_stands_apart_from_what_was_measured(plan: Callable[..., Plan], tmp_path: Path) -> None:
    with evaluated(plan(names=("bm25",)), tmp_path / "out") as measured:
        assert as_report(measured)["published"] == {next(iter(measured.models)): []}
        known = dict.fromkeys(["antoinelouis/crossencoder-me5-base-mmarcoFR"], next(iter(measured.models.values())))
        report = as_report(replace(measured, models=known, rows=measured.rows[:1]))
    page = as_markdown(report)
    before, apart = page.split("## Published figures of these models")
    assert "| RR@10 | 34.26 |" in apart
    assert "34.26" not in before
    assert "huggingface.co/antoinelouis/crossencoder-me5-base-mmarcoFR" in apart
