"""Passages hold whole sentences, nothing is lost, and none is longer than asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fr_reranker_plugin import SettingsError
from fr_reranker_plugin.retrieval.text_splitting import split_passages, split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Il pleut. Elle sort.", ["Il pleut.", "Elle sort."]),
        (
            "M. Dupont et Mme. Durand votent. Ils sont d'accord.",
            ["M. Dupont et Mme. Durand votent.", "Ils sont d'accord."],
        ),
        ("Selon l'art. L. 123-4 du code, c'est permis. Fin.", ["Selon l'art. L. 123-4 du code, c'est permis.", "Fin."]),
        ("« Est-ce vrai ? » Oui ! 2,5 % des cas.", ["« Est-ce vrai ? »", "Oui !", "2,5 % des cas."]),
        (
            "Le taux est de 2.5 points environ. À suivre… Émile rit.",
            ["Le taux est de 2.5 points environ.", "À suivre…", "Émile rit."],
        ),
        ("J. Moulin est né en 1899. Il meurt en 1943.", ["J. Moulin est né en 1899.", "Il meurt en 1943."]),
        ("Pas de majuscule. ici non plus", ["Pas de majuscule. ici non plus"]),
        ("", []),
    ],
)
def test_sentences_end_where_french_readers_end_them(text, sentences):
    assert list(split_sentences(text)) == sentences


PIECES = st.lists(
    st.sampled_from(["Un mot", "fin.", "M. Petit", "Oui !", "\n\n", "1899.", "(sic)", "suite"]), max_size=60
)


@given(PIECES, st.integers(10, 25))
def test_every_word_is_kept_in_order_and_no_passage_is_too_long(pieces, words):
    text = " ".join(pieces)
    passages = list(split_passages(text, words=words))
    assert " ".join(passages).split() == text.split()
    assert all(0 < len(passage.split()) <= words for passage in passages)


@given(PIECES)
def test_sentences_keep_every_word_too(pieces):
    text = " ".join(pieces)
    assert " ".join(split_sentences(text)).split() == text.split()


def test_the_headings_above_a_section_open_every_passage_of_it():
    text = "Avant.\n\n# Naissance #\n\n" + "Une phrase de cinq mots. " * 6 + "\n\n## Vote\nÀ la mairie.\n# Fin\nOui."
    assert list(split_passages(text, words=15)) == [
        "Avant.",
        *["Naissance\n" + " ".join(["Une phrase de cinq mots."] * 3)] * 2,
        "Naissance\nVote\nÀ la mairie.",
        "Fin\nOui.",
    ]


def test_a_title_with_nothing_but_sections_under_it_is_kept():
    text = "# Congé parental\n\n## Durée\n\nUn an au plus.\n\n### Jumeaux\nTrois ans.\n\n## Demande\n\nPar lettre.\n"
    assert list(split_passages(text)) == [
        "Congé parental\nDurée\nUn an au plus.",
        "Congé parental\nDurée\nJumeaux\nTrois ans.",
        "Congé parental\nDemande\nPar lettre.",
    ]


def test_the_line_ends_of_windows_change_nothing():
    text = "# Vote #\n\n## Où\nLà.\n\n" + "Une phrase de cinq mots. " * 3 + "\n\n```\n# non\n```\n\n# Fin\nOui."
    assert list(split_passages(text.replace("\n", "\r\n"), words=15)) == list(split_passages(text, words=15))


@pytest.mark.parametrize(
    ("line", "heading"),
    [
        ("## Langage C#", "Loi Langage C#"),
        ("## Vote ##  ", "Loi Vote"),
        ("#\tVote", "Vote"),
        ("# Vote # et # fin", "Vote # et # fin"),
        ("# ##", ""),
        ("#Vote", None),
        ("####### Vote", None),
    ],
)
def test_a_heading_is_what_markdown_says(line, heading):
    (passage,) = split_passages(f"# Loi\n{line}\nOui.")
    assert passage.split() == (f"Loi {line} Oui." if heading is None else f"{heading} Oui.").split()


@pytest.mark.parametrize(
    ("opening", "closing"), [("```", "```"), ("~~~ python", "~~~~"), ("  ````python", "  `````"), ("```", "")]
)
def test_what_looks_like_a_heading_in_a_block_of_code_is_none(opening, closing):
    code = f"{opening}\n# commentaire\n``\nouvrir()\n~~~ non\n{closing}"
    (passage,) = split_passages(f"# Ouvrir\n{code}")
    assert passage.split() == f"Ouvrir\n{code}".split()
    assert [passage.splitlines()[0] for passage in split_passages(f"{code}\n# Fermer\nOui.")][1:] == (
        ["Fermer"] if closing else []
    )


def test_code_within_a_line_opens_no_block():
    assert list(split_passages("```ouvrir()``` suffit.\n# Vote\nOui.")) == ["```ouvrir()``` suffit.", "Vote\nOui."]


def test_short_paragraphs_share_a_passage():
    assert list(split_passages("Un.\n\nDeux.\n\nTrois.")) == ["Un.\nDeux.\nTrois."]


@pytest.mark.parametrize("text", ["", " \n\n ", "# Titre seul"])
def test_nothing_to_read_gives_no_passage(text):
    assert list(split_passages(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        ", ".join(["M. Dupont"] * 100_000),
        "Préface" + "." * 300_000 + "7",
        "Fin." + " " * 300_000 + "suite",
        "mot " * 1_000_000,
    ],
    ids=["abbreviations", "dot leaders", "spaces", "no sentence"],
)
@pytest.mark.parametrize("split", [split_sentences, split_passages])
def test_long_texts_of_any_kind_are_split_before_the_timeout(split, text):
    assert " ".join(split(text)).split() == text.split()  # with the square of the length it would take an hour


def test_too_few_words_are_refused():
    with pytest.raises(SettingsError, match="words must be >= 10"):
        list(split_passages("Un.", words=3))
