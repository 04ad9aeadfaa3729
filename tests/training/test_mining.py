"""Mined negatives come from the window, keep the margin, and are never known positives."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fr_reranker_plugin import SharedEncoder
from fr_reranker_plugin.collections import open_collection
from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.retrieval.document_index import DocumentIndex
from fr_reranker_plugin.retrieval.documents import Hit, StoredDocument
from fr_reranker_plugin.training.example_counts import ExampleCounts
from fr_reranker_plugin.training.examples import TrainingExample
from fr_reranker_plugin.training.false_negatives import KnownPositives
from fr_reranker_plugin.training.judged import judged_examples
from fr_reranker_plugin.training.mining import MinedQueries, Miner, MiningSettings
from fr_reranker_plugin.training.mining_corpus import WordIndex, cosines

LONG = "Une plainte se dépose au commissariat ou à la gendarmerie."


class Ranking:
    """A corpus that finds numbered passages, in this order for every question."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts

    def search_many(self, questions, k, *, method):
        hits = [Hit(StoredDocument(f"{method} {text}", text), 0.0) for text in self.texts[:k]]
        return [hits for _ in questions]


def example(query: str = "q", *positives: str) -> TrainingExample:
    return TrainingExample(query, positives or ("la réponse",), (1.0,) * (len(positives) or 1))


def mined(corpus, examples: list[TrainingExample], judge=None, **chosen: object):
    counts = ExampleCounts()
    miner = Miner(MiningSettings(**chosen), MinedQueries.of(examples), corpus, judge=judge)
    return list(miner.mined(examples, counts)), counts


@settings(max_examples=60, deadline=None)
@given(
    rank_from=st.integers(1, 12),
    more=st.integers(0, 20),
    negatives=st.integers(1, 8),
    seed=st.integers(0, 5),
    margin=st.none() | st.sampled_from([0.0, 2.5, 10.0]),
)
def test_window_number_and_margin_hold_for_any_setting(rank_from, more, negatives, seed, margin) -> None:
    texts = [f"passage {n}" for n in range(30)]
    corpus = Ranking([*texts[:4], "la réponse", *texts[4:]])

    def judge(pairs, ids):
        return [20.0 if text == "la réponse" else float(text.split()[1]) for _, text in pairs]

    chosen = {"rank_from": rank_from, "rank_to": rank_from + more, "negatives": negatives, "seed": seed}
    made, counts = mined(corpus, [example(), example()], judge, margin=margin, **chosen)
    assert mined(corpus, [example(), example()], judge, margin=margin, **chosen)[0] == made
    window = [text for text in corpus.texts[rank_from - 1 : rank_from + more] if text != "la réponse"]
    allowed = [text for text in window if margin is None or float(text.split()[1]) <= 20 - margin]
    for one in made:
        assert one.passages[0] == "la réponse"
        assert set(one.negatives) <= set(allowed)
        assert len(one.negatives) == len(set(one.negatives)) == min(negatives, len(allowed))
    short = len(allowed) < negatives
    assert counts.left_out == ({"examples with fewer negatives than asked for": 2} if short else {})


def test_other_seeds_and_other_examples_draw_other_negatives() -> None:
    corpus = Ranking([f"passage {n}" for n in range(60)])
    first, _ = mined(corpus, [example("a"), example("b")], seed=1)
    other, _ = mined(corpus, [example("a"), example("b")], seed=2)
    assert first[0].negatives != other[0].negatives
    assert first[0].negatives != first[1].negatives


def test_what_equals_or_contains_a_positive_of_any_example_of_the_question_is_no_negative() -> None:
    own = TrainingExample("q", (LONG, "déjà là"), (1.0, 0.0))
    elsewhere = example("q", "Le dépôt de plainte en ligne est possible.")
    shouted = LONG.upper().replace(" ", "  ")
    found = [shouted, f"Voir aussi : {LONG} Puis signer.", elsewhere.passages[0], "déjà là", "autre chose"]
    made, _ = mined(Ranking(found), [own, elsewhere], rank_from=1)
    assert made[0].negatives == ("déjà là", "autre chose")
    assert set(made[1].negatives) == {"déjà là", "autre chose"}


def test_a_short_positive_hides_only_what_equals_it() -> None:
    known = KnownPositives(["Oui", LONG])
    assert known.hide("OUI ")
    assert not known.hide("Louis XIV")
    assert known.hide(f"x{LONG}")


def test_a_piece_of_a_positive_is_hidden_unless_it_is_too_short_to_tell() -> None:
    known = KnownPositives(["Non", LONG])
    assert all(known.hide(LONG[start : start + 22].upper()) for start in range(len(LONG) - 22))
    assert not known.hide("la gendarmerie")
    assert not known.hide(f"{LONG[:-1]} et ailleurs")


def test_pieces_of_a_positive_are_hidden_under_a_heading_too_but_not_what_stands_beside_them() -> None:
    heading, second = "Comment porter plainte ?", "Le récépissé est remis aussitôt à la victime."
    known = KnownPositives([f"{heading}\n{LONG}\n{second}"])
    assert known.hide(f"{heading}\n{second}")
    assert known.hide(f"Autre titre\n{LONG}\nEt ailleurs.")
    assert not known.hide(f"{heading}\nUne main courante n'est pas une plainte, et ne mène à aucune enquête.")


def test_questions_that_look_the_same_share_their_positives() -> None:
    """A space here, a no-break space there: people and programs write both before a question mark."""
    one, other = example("Où porter plainte ?", LONG), example("OÙ porter plainte\u00a0?", "Par lettre au procureur.")
    made, _ = mined(Ranking([LONG, "Par lettre au procureur.", "autre chose"]), [one, other], rank_from=1)
    assert [two.negatives for two in made] == [("autre chose",), ("autre chose",)]


def test_an_example_without_a_positive_stays_as_it_is() -> None:
    lonely = TrainingExample("q", ("non",), (0.0,), (1.5,))
    made, counts = mined(Ranking(["passage 1"]), [lonely], rank_from=1)
    assert made == [lonely]
    assert counts.left_out == {"examples without a positive, nothing added": 1}


def test_several_first_stages_put_their_windows_together() -> None:
    class Two(Ranking):
        def search_many(self, questions, k, *, method):
            return Ranking([f"{method} {n}" for n in range(9)]).search_many(questions, k, method=method)

    made, _ = mined(Two([]), [example()], methods=("bm25", "dense"), rank_from=2, rank_to=4, negatives=9)
    assert set(made[0].negatives) == {f"{method} {n}" for method in ("bm25", "dense") for n in (1, 2, 3)}


def test_a_teacher_scores_every_passage_once_and_only_what_is_kept_without_a_margin() -> None:
    asked = []

    def judge(pairs, ids):
        asked.extend(pairs)
        return [float(len(text)) for _, text in pairs]

    given = TrainingExample("q", ("la réponse", "non"), (1.0, 0.0))
    settings_ = MiningSettings(rank_from=1, negatives=2)
    corpus = Ranking(["un", "deux", "trois", "quatre"])
    miner = Miner(settings_, MinedQueries.of([given]), corpus, judge=judge, keeps_scores=True)
    [made] = miner.mined([given], ExampleCounts())
    assert made.scores == tuple(float(len(text)) for text in made.passages)
    assert asked == [("q", text) for text in made.passages]
    assert len(made.negatives) == 3


def test_a_margin_without_anybody_to_judge_is_refused() -> None:
    with pytest.raises(SettingsError, match="a margin needs scores"):
        mined(Ranking([]), [example()], margin=1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"methods": ()},
        {"methods": ("colbert",)},
        {"rank_from": 0},
        {"rank_from": 9, "rank_to": 8},
        {"negatives": -1},
        {"margin": -0.1},
        {"margin": float("nan")},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        MiningSettings(**wrong)


def test_words_alone_find_passages_with_the_words_of_the_question() -> None:
    texts = ["Le parc ferme à vingt heures.", "Déposer plainte en ligne.", "Une plainte contre un voisin."]
    corpus = WordIndex(StoredDocument(str(n), text) for n, text in enumerate(texts))
    made, _ = mined(corpus, [example("Où porter plainte ?", LONG)], methods=("bm25",), rank_from=1)
    assert set(made[0].negatives) == set(texts[1:])
    with pytest.raises(SettingsError, match="expected bm25"):
        corpus.search_many(["q"], 1, method="dense")


@pytest.mark.usefixtures("no_model_left")
def test_the_cosines_of_an_index_are_those_of_its_encoder_and_keep_the_margin(tmp_path: Path) -> None:
    """The sample collection, the embedded bi-encoder, and a few of its questions."""
    examples = list(judged_examples(open_collection("sample"), ExampleCounts()))[:3]
    examples = [example(one.query, one.positives[0]) for one in examples]
    passages = [passage.full_text[:120] for _, passage in open_collection("sample").passages()][:40]
    encoder = SharedEncoder()
    with DocumentIndex.create(None, encoder) as index:
        index.add(StoredDocument(str(n), text) for n, text in enumerate(passages))
        judge = cosines(index)
        made, _ = mined(index, examples, judge, rank_from=1, rank_to=30, negatives=5, margin=0.01)
    assert sum(len(one.negatives) for one in made) > 0
    for one in made:
        query, texts = encoder.encode_queries([one.query])[0], encoder.encode_passages(one.passages)
        said = dict(zip(one.passages, (texts @ query).tolist(), strict=True))
        lowest = min(said[text] for text in one.positives)
        assert all(said[text] <= lowest - 0.01 + 1e-4 for text in one.negatives)
    encoder.close()
