"""The benchmark asks what it says it asks, and its arithmetic is right. Nothing is timed here."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # the benchmarks are no part of the package

from benchmarks.chaos import Chaos
from benchmarks.concurrency import by_tasks, by_threads
from benchmarks.contenders import CPU, CUDA, LOCKED, REFERENCE, contenders
from benchmarks.encoding import OURS, THEIRS, compare, encoders, missed
from benchmarks.evaluation import main as measure_evaluation
from benchmarks.evaluation_table import main as tabulate_evaluations
from benchmarks.faulty_engine import POISON, FaultyEngine
from benchmarks.gates import gates, merged
from benchmarks.index_memory import main as measure_indexes
from benchmarks.index_memory import too_long
from benchmarks.index_memory_report import markdown as index_table
from benchmarks.models import RANDOM_TINY, checkpoint, tokenizer_of
from benchmarks.peers.length_sorted import LengthSorted
from benchmarks.report import lines, markdown, ratio
from benchmarks.rounds import Timed, interleaved, one_after_another
from benchmarks.texts import FrenchTexts, LengthMix
from benchmarks.throughput import planned_efficiency
from benchmarks.workloads import SIZES, Workloads

from fr_reranker_plugin import (
    BatchingScorer,
    BatchSettings,
    CrossEncoder,
    ModelSettings,
    ScoringError,
)
from fr_reranker_plugin.scoring.checkpoint import embedded_checkpoint
from fr_reranker_plugin.scoring.forward import bfloat16_product

LOADED = pytest.mark.slow


@pytest.fixture(scope="module")
def texts():
    return FrenchTexts(tokenizer_of(embedded_checkpoint("cross_encoder")))


@pytest.fixture
def workloads(texts):
    return Workloads(FrenchTexts(tokenizer_of(embedded_checkpoint("cross_encoder"))), SIZES["default"])


@pytest.mark.parametrize("count", [40, 500])
def test_any_number_of_lengths_has_the_mix_of_mmarco(count):
    lengths = LengthMix().lengths(count, np.random.default_rng(0))
    assert np.mean(lengths) == pytest.approx(90, rel=0.03)
    assert np.percentile(lengths, 95) == pytest.approx(180, rel=0.05)
    assert max(lengths) <= 512


def test_texts_have_the_lengths_that_were_asked_for(texts):
    wanted = [40, 90, 180, 350, 512]
    found = texts.pair_tokens(texts.request(wanted))
    assert found == pytest.approx(wanted, abs=8)


def test_workloads_have_their_lengths_and_sizes(workloads):
    w1, w2, w3 = workloads.w1(), workloads.w2(), workloads.w3()
    assert [len(one.pairs) for one in (w1, w2, w3)] == [80, 12, 8]
    assert np.mean(w1.lengths) == pytest.approx(90, rel=0.05)
    assert np.percentile(w1.lengths, 95) == pytest.approx(180, rel=0.1)
    assert np.mean(w2.lengths) == pytest.approx(270, rel=0.05)
    assert min(w3.lengths) >= 500
    assert max(w3.lengths) == 512


def test_a_third_of_the_longest_workload_is_cut(workloads, texts):
    lengths = texts.pair_tokens(workloads.w3().pairs)
    assert sum(length > 590 for length in lengths) == 2


def test_a_request_has_one_question_and_twenty_different_passages(workloads):
    for request in workloads.k20(5).requests:
        assert len({question for question, _ in request}) == 1
        assert len({passage for _, passage in request}) == len(request) == 20


def test_equal_seeds_ask_the_same_and_each_round_something_new():
    def asked():
        built = Workloads(FrenchTexts(tokenizer_of(embedded_checkpoint("cross_encoder"))), SIZES["quick"])
        return built.w1().pairs, built.w1().pairs

    first, second = asked(), asked()
    assert first == second
    assert set(first[0]).isdisjoint(first[1])


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.95])
def test_passages_repeat_at_the_hit_rate(workloads, rate):
    passages = [passage for _, passage in workloads.w7(rate).pairs]
    assert len(passages) == SIZES["default"].w7
    assert 1 - len(set(passages)) / len(passages) == pytest.approx(rate, abs=0.03)


def test_rounds_are_interleaved_and_a_failing_contender_leaves_the_others_alone():
    calls, failures = [], []

    def task(name, fails_in=None):
        def run(number):
            calls.append(name)
            if number == fails_in:
                raise ValueError("broken")
            return Timed(1.0, [], [])

        return run

    tasks = {"a": task("a"), "b": task("b", fails_in=1), "c": task("c")}
    kept = list(interleaved(tasks, rounds=3, on_error=lambda name, error: failures.append((name, str(error)))))
    assert "".join(calls) == "abcabcac"
    assert [(number, name) for number, name, _, _ in kept if name == "b"] == [(0, "b")]
    assert failures == [("b", "broken")]


@pytest.mark.parametrize("loop", ["threads", "tasks"])
def test_callers_share_the_requests_and_each_is_asked_once(loop):
    requests, seen = [[("q", str(number))] for number in range(20)], []

    async def ascore(request):
        seen.append(request[0][1])

    timed = by_tasks(ascore, requests, 4) if loop == "tasks" else by_threads(
        lambda request: seen.append(request[0][1]), requests, 4
    )  # fmt: skip
    assert sorted(seen, key=int) == [request[0][1] for request in requests]
    assert len(timed.latencies) == 20


def test_an_error_of_a_caller_ends_the_measurement():
    def score(request):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        by_threads(score, [[("q", "p")]] * 5, 2)


def test_logits_come_back_in_order():
    timed = one_after_another(
        lambda request: [float(passage) for _, passage in request], [[("q", "1"), ("q", "2")], [("q", "3")]]
    )
    assert timed.logits == [1.0, 2.0, 3.0]


def test_efficiency_of_padded_batches_is_useful_over_computed_tokens():
    assert planned_efficiency([10, 5, 5], [[0, 1], [2]]) == 20 / 25


def result(**speeds):
    """A result file in which each contender scores so many pairs per second, the reference 10."""
    rounds = [
        {"workload": workload, "contender": name, "number": number, "seconds": 100 / speed * (1 + number / 10),
         "pairs": 100, "tokens": 9000, "latencies": [100 / speed], "load": 0.0}
        for workload in ("W1", "k20")
        for name, speed in {REFERENCE: 10, **speeds}.items()
        for number in range(3)
    ]  # fmt: skip
    return {
        "command": "python -m benchmarks.run", "date": "2026-01-01", "commit": "abc", "rounds": rounds,
        "rounds_each": 3,
        "sizes": "quick", "device": "cpu", "measured_peak": {"float32": 1e11},
        "machine": {"processor": "p", "cores": 2, "flags": [], "torch_threads": 2, "load_average_at_start": [0.0],
                    "python": "3", "versions": {}},
        "model": {"name": "m", "family": "f", "num_hidden_layers": 1, "hidden_size": 1, "vocab_size": 1},
        "workloads": {name: {"what": name, "requests": 1, "pairs": 100, "mean_tokens": 90, "p50_tokens": 80,
                             "p95_tokens": 180} for name in ("W1", "k20")},
        "contenders": {name: {"ours": name.startswith("ours"), "exact": name == "ours fp32", "pads": False,
                              "options": {"dtype": name.removeprefix("ours ")}, "status": "measured"}
                       for name in (REFERENCE, *speeds)},
    }  # fmt: skip


def test_ratios_are_taken_inside_each_round():
    findings = result(**{"ours fp32": 30})
    assert ratio(findings, ("W1", "ours fp32"), ("W1", REFERENCE)) == pytest.approx(3)
    fastest, slowest = lines(findings, "W1")
    assert (fastest.contender, slowest.contender) == ("ours fp32", REFERENCE)
    assert fastest.ratio is not None
    assert fastest.ratio == pytest.approx((3, 3, 3))  # though the machine slowed down from round to round
    assert fastest.pairs_per_second.median == pytest.approx(30 / 1.1)


def test_the_report_shows_every_contender_and_what_was_not_measured():
    findings = result(**{"ours fp32": 30})
    findings["contenders"]["infinity"] = {"ours": False, "status": "not loaded", "error": "ImportError: infinity_emb"}
    text = markdown(findings)
    assert "| ours fp32 | 27.3 [26.1, 28.6] | 3.00 [3.00, 3.00] |" in text
    assert "infinity: not loaded: ImportError: infinity_emb" in text
    assert "`python -m benchmarks.run`" in text


@pytest.mark.parametrize(("speed", "met"), [(26, True), (24, False)])
def test_a_gate_is_met_or_not_by_the_ratio(speed, met):
    found = {gate.required: gate for gate in gates(result(**{"ours fp32": speed}))}
    gate = found["fp32: pairs/s on W1 against sentence-transformers ≥ 2.5"]
    assert (gate.met, gate.measured) == (met, f"{speed / 10:.3g} (ours fp32)")
    assert found["int8: pairs/s on W1 against sentence-transformers ≥ 9"].met is None


def test_what_one_file_does_not_know_another_may():
    known, unknown = result(**{"ours fp32": 30}), result()
    for order in ((known, unknown), (unknown, known)):
        assert [gate.met for gate in merged(list(map(gates, order))) if gate.required.startswith("fp32: pairs/s")] == [
            True,
            True,
        ]


def test_one_wrong_answer_in_chaos_is_not_met():
    findings = result()
    quiet = dict.fromkeys(("hung", "unanswered", "innocent_failed", "wrong_logits", "left_waiting",
                           "poisoned_without_scoring_error"), 0) | {"throughput_loss": 0.1}  # fmt: skip
    findings["chaos"] = {"faults": quiet, "faults and GIL hog": {**quiet, "wrong_logits": 1}}
    assert [gate.met for gate in gates(findings) if gate.required.startswith("chaos")] == [True, False]


def test_the_worst_exact_variant_decides_about_agreement():
    findings = result(**{"ours fp32": 30})
    findings["agreement"] = {"W1": {"ours fp32": {"max": 2e-5}}, "W3": {"ours fp32": {"max": 2e-4}}}
    [gate] = [gate for gate in gates(findings) if "logit difference" in gate.required]
    assert (gate.met, gate.measured) == (False, "0.0002 (ours fp32, W3)")


def test_names_are_unique_and_both_lists_have_what_the_ratios_need():
    for some in (CPU, CUDA):
        names = [one.name for one in some]
        assert len(set(names)) == len(names)
        assert {REFERENCE, LOCKED} < set(names)
        assert any(one.is_ours and one.exact for one in some)
        assert all(one.core <= one.groups for one in some)
    assert contenders("cuda:1") is CUDA


@pytest.mark.parametrize(
    ("known", "takes_part"),
    [
        ({"avx2": True}, False),
        ({"avx2": True, "avx512_f": True}, False),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": True}, True),
        ({"avx2": True, "avx512_f": True, "amx_bf16": True}, True),
        ({}, True),
    ],
    ids=["AVX2", "AVX-512", "bfloat16", "AMX", "arm"],
)
def test_bfloat16_is_left_out_where_it_is_emulated(monkeypatch, known, takes_part):
    monkeypatch.setattr(bfloat16_product, "capabilities", lambda: known)
    names = [one.name for one in contenders("cpu")]
    assert ("ours bf16" in names) is takes_part
    assert {"ours fp32", "ours int8", REFERENCE} < set(names)
    assert contenders("cuda") is CUDA


def test_length_sorted_batches_give_logits_in_the_order_of_the_pairs():
    folder = embedded_checkpoint("cross_encoder")
    sizes = []

    def forward(ids, mask):
        sizes.append(ids.shape)
        return mask.sum(1, keepdims=True).astype(np.float32)

    peer = LengthSorted(forward, str(folder), batch_size=2)
    pairs = [("Où ?", "Ici. " * 30), ("Où ?", "Ici."), ("Où ?", "Ici. " * 10)]
    scores = peer.score(pairs)
    assert scores[0] > scores[2] > scores[1]
    assert [size[0] for size in sizes] == [2, 1]
    assert peer.plan(pairs) == [[0, 2], [1]]


def test_chaos_is_seeded_and_a_cancelled_request_is_not_poisoned():
    chaos, again = Chaos(1000), Chaos(1000)
    assert chaos.cancelled == again.cancelled
    assert len(chaos.cancelled) == pytest.approx(200, rel=0.2)
    assert chaos.poisoned.isdisjoint(chaos.cancelled)
    assert chaos.poisoned
    assert not Chaos(1000, quiet=True).cancelled


def test_the_faulty_engine_fails_where_it_says_and_the_scorer_answers_everybody_else(tiny_model):
    engine = CrossEncoder.load(ModelSettings(model=tiny_model, device="cpu"))
    pairs = [("Où porter plainte ?", f"Au commissariat {number}.") for number in range(12)]
    faulty = FaultyEngine(engine, memory_every=2)
    with BatchingScorer(engine) as scorer:
        expected = scorer.score(pairs)
    with BatchingScorer(faulty, BatchSettings(max_batch_tokens=64)) as scorer:
        assert scorer.score(pairs, timeout=20) == pytest.approx(expected, abs=1e-4)
        with pytest.raises(ScoringError):
            scorer.score([*pairs, ("Où ?", f"{POISON} poison")], timeout=20)
    assert faulty.out_of_memory > 0
    assert faulty.poisoned > 0


def test_the_random_checkpoint_tells_texts_apart(tmp_path, workloads):
    folder = checkpoint(RANDOM_TINY, cache=tmp_path)
    engine = CrossEncoder.load(ModelSettings(model=str(folder), device="cpu"))
    with BatchingScorer(engine) as scorer:
        logits = scorer.score(workloads.k20(3).pairs, timeout=60)
    assert len(set(logits)) == len(logits)
    assert checkpoint(RANDOM_TINY, cache=tmp_path) == folder
    with pytest.raises(FileNotFoundError, match="random-xlm-r-base"):
        checkpoint(str(tmp_path / "absent"))


@LOADED
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")  # of the peers
def test_a_whole_run_ends_with_a_result_a_table_and_gates(tmp_path, monkeypatch):
    from benchmarks import run as runner
    from benchmarks.gates import main as check

    monkeypatch.setattr("benchmarks.run.machine.measured_peak", lambda device: {"float32": 1e11})
    monkeypatch.setattr("benchmarks.run._hush", lambda: None)
    out = tmp_path / "result.json"
    arguments = ["--quick", "--suite", "throughput", "--rounds", "1", "--only", "ours fp32", "snippet"]
    assert runner.main([*arguments, "--cache", str(tmp_path), "--out", str(out)]) == 0
    findings = json.loads(out.read_text(encoding="utf-8"))
    assert findings["command"].startswith("python -m benchmarks.run --quick")
    assert {one["contender"] for one in findings["rounds"]} == {"ours fp32", "transformers snippet"}
    assert findings["efficiency"]["W1"]["ours fp32"] > 0.5
    assert out.with_suffix(".md").is_file()
    assert check([str(out)]) in (0, 1)


@LOADED
def test_encoding_is_compared_on_equal_texts_and_vectors(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = compare(encoders(RANDOM_TINY, "cpu"), ["Où voter ?", "À la mairie.", "Un train."] * 3, count=4, rounds=2)
    assert {name: len(all_) for name, all_ in found["seconds"].items()} == {OURS: 2, THEIRS: 2}
    assert found["least_cosine"] >= 0.9999


@pytest.mark.parametrize(("ratio", "cosine", "misses"), [(1.5, 0.9999, 0), (1.4, 1.0, 1), (1.4, 0.99, 2)])
def test_the_gates_of_encoding_name_what_is_missed(ratio, cosine, misses):
    assert len(missed({"ratio": {"median": ratio}, "least_cosine": cosine})) == misses


@LOADED
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
@LOADED
def test_an_evaluation_is_compared_with_bare_scoring_of_the_same_pairs(tmp_path):
    out = tmp_path / "evaluation.json"
    assert measure_evaluation(["--rounds", "2", "--questions", "1", "--out", str(out)]) in (0, 1)
    found = json.loads(out.read_text(encoding="utf-8"))
    assert 0 < found["pairs"] <= 20
    assert all(len(seconds) == 2 for seconds in found["seconds"].values())
    assert found["ratio"]["low"] <= found["ratio"]["median"] <= found["ratio"]["high"]


def test_a_table_of_evaluations_shows_no_text_of_the_collections(tmp_path):
    report = {
        "protocol": "two-stage", "seed": 0, "published": {}, "models": {},
        "collection": {"name": "petite", "queries": 2, "judgements": 3, "relevant_from": 1, "fingerprint": "abc"},
        "rows": [{"first_stage": "bm25", "model": None, "pool": None,
                  "measures": {"nDCG@10": {"value": 0.5, "low": 0.4, "high": 0.6}}}],
        "thresholds": [{"first_stage": "bm25", "model": "m", "curve": [{"score": 0.1}],
                        "suggested": {"score": 0.5, "kept": 2, "precision": 1.0, "recall": 0.5, "f1": 0.6667}}],
        "made_worse": [{"text": "une question secrète"}],
        "today": {"latency_seconds": {}, "peak_memory_bytes": {"process": None}, "versions": {},
                  "machine": {"processor": "p", "cores": 2, "python": "3"}},
    }  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(report), encoding="utf-8")
    out = tmp_path / "table.json"
    tabulate_evaluations([str(tmp_path), "--command", "fr-reranker evaluate", "--out", str(out)])
    page = out.with_suffix(".md").read_text(encoding="utf-8")
    assert "| bm25 alone | 50.00 [40.00, 60.00] |" in page
    assert "secrète" not in page + out.read_text(encoding="utf-8")


def test_the_memory_of_an_index_is_that_of_its_vectors_unless_they_stay_on_disk(tmp_path):
    out = tmp_path / "memory.json"
    assert measure_indexes(["--kinds", "flat", "--sizes", "20000", "--out", str(out)]) == 0
    assert measure_indexes(["--kinds", "hnsw", "--sizes", "300", "--out", str(out)]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    flat = found["flat, 20000"]
    assert flat["vectors_mib"] == pytest.approx(20000 * 384 * 4 / 2**20, rel=0.01)
    assert flat["plain"]["opened_mib"] > flat["vectors_mib"] > 2 * flat["mapped"]["opened_mib"]
    assert flat["mapped"]["searched_mib"] > flat["vectors_mib"] > 2 * flat["mapped"]["own_mib"]
    assert flat["plain"]["recall_at_10"] == flat["mapped"]["recall_at_10"] == 1
    assert found["hnsw, 300"]["plain"]["recall_at_10"] > 0.9
    assert out.with_suffix(".md").read_text(encoding="utf-8").count("\n| ") == 4


def test_a_kind_of_index_that_would_take_too_long_to_build_is_left_out_with_its_reason():
    known = {"a": {"kind": "hnsw", "vectors": 100_000, "build_seconds": 31.0}}
    assert too_long(known, "hnsw", 900_000) is None
    assert too_long(known, "flat", 1_000_000) is None
    reason = too_long(known, "hnsw", 1_000_000)
    assert reason.startswith("left out: building would take more than 5 minutes: 31 s for 100,000 vectors")
    machine = {"processor": "p", "cores": 2, "load_average_at_start": [0.0], "python": "3", "versions": {}}
    case = {"kind": "hnsw", "vectors": 1_000_000, "left_out": reason, "command": "c", "date": "d", "commit": "c",
            "uncommitted_changes": False, "machine": machine, "dimension": 384, "queries": 100}  # fmt: skip
    assert f"- `hnsw` with 1,000,000: {reason}." in index_table({"b": case})
