import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpoints import SENTENCES
from engines import TIMEOUT
from fr_reranker_plugin import (
    DeadlineExceededError,
    LongDocumentScorer,
    ModelSettings,
    ScoringError,
    SettingsError,
    SharedScorer,
    WindowSettings,
)
from fr_reranker_plugin.scoring.long_documents import WindowPlan, window_settings
from fr_reranker_plugin.scoring.scorer import Logits

QUERY = "Où déposer une plainte ?"
LONG = " ".join(SENTENCES * 12)
PASSAGES = [SENTENCES[0], LONG, "", SENTENCES[4], LONG + " fin", SENTENCES[0]]
PAIRS = [(QUERY, passage) for passage in PASSAGES]


@pytest.fixture(scope="module")
def scorer(tiny_model):
    shared = SharedScorer(ModelSettings(model=tiny_model, max_length=128))
    shared.warm_up()
    yield shared
    shared.close()


def test_the_logit_of_a_window_is_that_of_its_text_on_its_own_and_the_best_one_counts(scorer):
    windows = scorer.windows(PAIRS, overlap=20)
    logits = LongDocumentScorer(scorer, WindowSettings(overlap=20)).score(PAIRS)
    for (query, passage), spans, logit, best in zip(PAIRS, windows, logits, logits.best, strict=True):
        alone = [scorer.score([(query, passage[start:end])])[0] for start, end in spans]
        assert logit == pytest.approx(max(alone), abs=1e-4)
        assert best.windows == len(spans)
        assert alone[spans.index(best[:2])] == pytest.approx(max(alone), abs=1e-4)
    assert [best.windows > 1 for best in logits.best] == [False, True, False, False, True, False]
    assert logits.truncated == ()


def test_a_passage_that_fits_keeps_its_logit_and_is_one_window(scorer):
    short = [(QUERY, sentence) for sentence in SENTENCES]
    for aggregate in ("max", "mean"):
        logits = LongDocumentScorer(scorer, WindowSettings(aggregate=aggregate)).score(short)
        assert list(logits) == scorer.score(short)
        assert [tuple(best) for best in logits.best] == [(0, len(sentence), 1) for sentence in SENTENCES]


def test_the_mean_is_that_of_the_best_three_windows(scorer):
    best = LongDocumentScorer(scorer, WindowSettings()).score(PAIRS)
    mean = LongDocumentScorer(scorer, WindowSettings(aggregate="mean")).score(PAIRS)
    spans = scorer.windows(PAIRS, overlap=64)[1]
    alone = sorted(scorer.score([(QUERY, LONG[start:end]) for start, end in spans]), reverse=True)
    assert len(alone) > 3
    assert mean[1] == pytest.approx(sum(alone[:3]) / 3, abs=1e-4)
    assert mean.best == best.best


def test_windows_beyond_the_most_are_not_read_and_reported(scorer):
    logits = LongDocumentScorer(scorer, WindowSettings(max_windows=2)).score(PAIRS)
    assert logits.truncated == (1, 4)
    assert [best.windows for best in logits.best] == [1, 2, 1, 1, 2, 1]
    assert all(best.end <= scorer.windows(PAIRS, overlap=64)[1][1][1] for best in logits.best)


def test_a_query_that_is_cut_is_reported(scorer):
    logits = LongDocumentScorer(scorer).score([("question " * 200, LONG), (QUERY, LONG)])
    assert logits.truncated == (0,)


async def test_asynchronous_and_synchronous_answers_are_the_same(scorer):
    reader = LongDocumentScorer(scorer, WindowSettings(overlap=20, max_windows=3))
    logits, alogits = reader.score(PAIRS), await reader.ascore(PAIRS)
    assert alogits == pytest.approx(logits, abs=1e-4)
    assert (alogits.best, alogits.truncated) == (logits.best, logits.truncated)


def test_all_windows_of_all_passages_are_one_request(tiny_model):
    class Counting(SharedScorer):
        requests = 0

        def score(self, pairs, **call):
            self.requests += 1
            return super().score(pairs, **call)

    counting = Counting(ModelSettings(model=tiny_model, max_length=64))
    LongDocumentScorer(counting).score(PAIRS * 20)
    counting.close()
    assert counting.requests == 1


@pytest.mark.usefixtures("no_model_left")
def test_no_pairs_load_nothing(loads, tiny_model):
    reader = LongDocumentScorer(SharedScorer(ModelSettings(model=tiny_model)))
    assert reader.score([]) == []
    assert asyncio.run(reader.ascore([])) == []
    assert loads == []


def test_the_time_that_cutting_takes_counts(scorer):
    reader = LongDocumentScorer(scorer)
    with pytest.raises(DeadlineExceededError, match=r"within 1e-06 s for 6 passages"):
        reader.score(PAIRS, timeout=1e-6)
    with pytest.raises(DeadlineExceededError, match=r"within 1e-06 s for 6 passages"):
        asyncio.run(reader.ascore(PAIRS, timeout=1e-6))
    assert len(reader.score(PAIRS, timeout=TIMEOUT)) == 6


def test_nothing_is_cut_once_the_time_is_up(scorer, monkeypatch):
    cut = []
    monkeypatch.setattr(scorer, "windows", lambda pairs, *, overlap: cut.extend(pairs) or [])
    with pytest.raises(DeadlineExceededError):
        LongDocumentScorer(scorer).score(PAIRS, timeout=1e-9)
    assert cut == []


async def test_a_wait_for_the_tokenizer_ends_with_the_time(scorer, monkeypatch):
    async def never(pairs, *, overlap):
        if pairs:
            await asyncio.Event().wait()

    monkeypatch.setattr(scorer, "awindows", never)
    with pytest.raises(DeadlineExceededError, match="6 passages"):
        await asyncio.wait_for(LongDocumentScorer(scorer).ascore(PAIRS, timeout=0.01), TIMEOUT)


def test_many_threads_cut_and_score_at_once(scorer):
    reader = LongDocumentScorer(scorer)
    expected = reader.score(PAIRS)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(reader.score(PAIRS))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert [answer == pytest.approx(expected, abs=1e-4) for answer in answers] == [True] * 8


def test_a_scorer_that_cannot_cut_is_refused():
    class Remote:
        def score(self, pairs, **_):
            return [0.0 for _ in pairs]

        async def ascore(self, pairs, **_):
            return [0.0 for _ in pairs]

    with pytest.raises(SettingsError, match=r"Remote cannot cut .* long_documents='truncate'"):
        LongDocumentScorer(Remote())


finite = st.floats(-50, 50, width=32)
documents = st.lists(st.lists(finite, min_size=1, max_size=6), max_size=8)


def planned(passages, settings):
    pairs = [("q", "abcdef"[: len(logits)]) for logits in passages]
    return WindowPlan(pairs, [[(i, i + 1) for i in range(len(logits))] for logits in passages], settings)


@given(documents, st.integers(1, 7), st.integers(1, 4))
def test_every_passage_gets_the_logits_of_its_own_windows(passages, max_windows, averaged):
    read = [logits[:max_windows] for logits in passages]
    flat = [logit for logits in read for logit in logits]
    best = planned(passages, WindowSettings(max_windows=max_windows))
    mean = planned(passages, WindowSettings(aggregate="mean", averaged=averaged, max_windows=max_windows))
    assert best.pairs == [("q", "abcdef"[i]) for logits in read for i in range(len(logits))]
    assert list(best.gathered(flat)) == [max(logits) for logits in read]
    top = [sorted(logits, reverse=True)[:averaged] for logits in read]
    assert list(mean.gathered(flat)) == pytest.approx([sum(logits) / len(logits) for logits in top], abs=1e-9)
    assert [best.start for best in mean.gathered(flat).best] == [logits.index(max(logits)) for logits in read]
    assert mean.gathered(flat).truncated == tuple(i for i, one in enumerate(passages) if len(one) > max_windows)


@given(documents, st.data())
def test_a_passage_is_truncated_if_one_of_its_windows_was(passages, data):
    flat = [logit for logits in passages for logit in logits]
    owners = [position for position, logits in enumerate(passages) for _ in logits]
    cut = data.draw(st.sets(st.integers(0, len(flat) - 1))) if flat else set()
    gathered = planned(passages, WindowSettings()).gathered(Logits(flat, truncated=sorted(cut)))
    assert gathered.truncated == tuple(sorted({owners[place] for place in cut}))


@pytest.mark.parametrize("logits", [[0.0], [0.0, float("nan")], [float("inf"), 0.0]])
def test_too_few_logits_and_such_as_cannot_be_compared_are_refused(logits):
    with pytest.raises(ScoringError):
        planned([[0.0, 0.0]], WindowSettings()).gathered(logits)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"aggregate": "sum"}, "aggregate must be 'max' or 'mean'"),
        ({"overlap": -1}, "window_overlap must be >= 0"),
        ({"overlap": 1.5}, "window_overlap must be a whole number"),
        ({"averaged": 0}, "averaged must be >= 1"),
        ({"max_windows": 0}, "max_windows must be >= 1"),
        ({"max_windows": True}, "max_windows must be a whole number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, said):
    with pytest.raises(SettingsError, match=said):
        WindowSettings(**values)


def test_the_parameters_of_a_door_are_checked_even_where_they_are_not_used():
    assert window_settings("truncate") is None
    assert window_settings("mean", overlap=3, max_windows=2) == WindowSettings(
        aggregate="mean", overlap=3, max_windows=2
    )
    for wrong in ({"long_documents": "cut"}, {"overlap": -2}, {"max_windows": 0}):
        with pytest.raises(SettingsError):
            window_settings(**{"long_documents": "truncate", **wrong})
