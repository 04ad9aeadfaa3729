"""Terms: what French writers spell differently and mean alike comes out the same; numbers and codes stay whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin import FrenchAnalyzer, SettingsError
from fr_reranker_plugin.retrieval.french_analysis import without_accents

ANALYZE = FrenchAnalyzer()


@pytest.mark.parametrize(
    "alike",
    [
        ("eleve", "l'élève", "ÉLÈVES", "l’élève", "élèves"),
        ("l'ecole", "L’École", "d'école"),
        ("declaration", "Déclarations", "la déclaration", "d'une déclaration"),
        ("allocataire", "qu'allocataire", "lorsqu’allocataires"),
        ("cœur", "coeur", "CŒUR"),
        ("1 500 €", "1 500 €", "1500"),
        ("identité", "identites", "IDENTITÉ"),
        ("première", "premieres", "Premières"),
        ("mariées", "mariee"),
        ("aujourd'hui", "aujourd’hui"),
    ],
)
def test_spellings_of_the_same_have_the_same_terms(alike):
    assert len({tuple(ANALYZE(text)) for text in alike}) == 1


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("CERFA n° 12101*03", {"12101", "03"}),
        ("article L. 123-4", {"l123", "123", "4"}),
        ("un taux de 2,5 %", {"2.5"}),
        ("le 14/07/2024", {"14", "07", "2024"}),
        ("formulaire 2042-RICI", {"2042"}),
    ],
)
def test_numbers_and_codes_are_kept(text, terms):
    assert terms <= set(ANALYZE(text))


@pytest.mark.parametrize("text", ["", "   ", "« ? »", "le la les", "qu'est-ce que c'est"])
def test_what_says_nothing_has_no_terms_to_speak_of(text):
    assert len(ANALYZE(text)) <= 1


def test_stop_words_can_be_chosen_and_are_left_out_in_any_form():
    assert ANALYZE("le chat") == ANALYZE("chat")
    assert len(FrenchAnalyzer(())("le chat")) == 2
    assert FrenchAnalyzer(["Élève"])("les eleve et l'ÉLÈVE") == FrenchAnalyzer(["Élève"])("les et")


@given(st.text(max_size=80))
def test_any_text_has_the_same_terms_without_accents_and_in_capitals(text):
    assert ANALYZE(text) == FrenchAnalyzer()(text)
    assert all(term and term == without_accents(term) and term == term.casefold() for term in ANALYZE(text))


@given(
    st.lists(st.sampled_from(["école", "première", "œuvre", "l'identité", "1", "500", "n°", "12", "d'où"]), max_size=8)
)
def test_capitals_change_nothing(words):
    text = " ".join(words)
    assert ANALYZE(text.upper()) == ANALYZE(text)


def test_what_is_no_string_is_refused():
    with pytest.raises(SettingsError, match="a text to analyse must be a string, got int"):
        ANALYZE(7)


def test_the_fingerprint_tells_analyses_apart():
    assert ANALYZE.fingerprint() == FrenchAnalyzer().fingerprint()
    assert ANALYZE.fingerprint() != FrenchAnalyzer(()).fingerprint()
