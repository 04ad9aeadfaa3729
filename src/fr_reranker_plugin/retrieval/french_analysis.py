"""From French text to the terms that are counted: without case, accents, elisions, stop words and endings."""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from fr_reranker_plugin.errors import MissingDependencyError, SettingsError

if TYPE_CHECKING:
    from Stemmer import Stemmer

_STOP_WORDS: Final = (
    # determiners
    "le la les l un une des de du au aux ce cet cette ces mon ma mes ton ta tes son sa ses notre nos votre vos "
    "leur leurs "
    # prepositions and conjunctions
    "a en dans par pour sur avec sans entre et ou ni mais donc comme si que qu "
    # pronouns and negation
    "je j tu t il ils elle elles on nous vous me te se s lui eux moi toi soi y cela ca ceci celui celle ceux celles "
    "qui quoi dont ne n pas plus "
    # what asks
    "comment quand quel quelle quels quelles combien pourquoi lequel laquelle lesquels lesquelles "
    # the plainest forms of être and avoir
    "est es sont etre etait etaient sera seront soit soient ai ont avez avait avaient aura auront ait aient"
)
FRENCH_STOP_WORDS: Final = frozenset(_STOP_WORDS.split())
"""Words that say little of what a text is about, without accents. Those that are also another word (été, car, or,
sommes, avoir) are not among them, nor the letters c, d and m: as words of their own, they name things."""

_APOSTROPHES: Final = dict.fromkeys(map(ord, "’‘ʼʹ′‛`´＇"), "'")
_INVISIBLE: Final = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
_BEFORE_NFKC: Final = {**_APOSTROPHES, **_INVISIBLE}
_LIGATURES: Final = {ord("œ"): "oe", ord("æ"): "ae"}

_ACCENT: Final = re.compile("[\u0300-\u036f]+")
_ELISION: Final = re.compile(r"\b(?:[cdjlmnstç]|(?:jus|lors|puis|quoi|quel)?qu)'")
_INNER_APOSTROPHE: Final = re.compile(r"(?<=[^\W\d_])'(?=[^\W\d_])")
_GROUPED_DIGITS: Final = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?!\d)")
_NUMBER_SIGN: Final = re.compile(r"\bn ?[°o] ?(?=\d)")
_ARTICLE: Final = re.compile(r"\b([lrd])(?:\. ?| )?(?:\* ?)?(\d+)")
_WORD: Final = re.compile(r"(?<![\d.,])\d+[.,]\d+(?![.,]?\d)|[^\W_]+")

_ACUTE_ENDING: Final = re.compile("(?<=it)e(?=s?$)|e(?=es?$)")
_GRAVE_ENDING: Final = re.compile("(?<=i)e(?=res?$)")

_REMEMBERED_WORDS: Final = 1 << 16

_ENDINGS: Final = (
    "e es é ée ées er ez ons ions iez ent aient èrent erait erions ant ante antes asse assions it ies ir irait "
    "issons issement ement ément ements ité ités ivité abilité ateur atrice ation ations ution logie ence ance "
    "iste isme able ible eux euse eusement ique iqu ier ière ières if ive ivement amment emment al aux el elle "
    "ien enne on onne et ette ot otte eau oux"
)
_ROOTS: Final = ("march", "nation", "crédit", "œuvr", "règl")
_PROBE: Final = " ".join(root + ending for root in _ROOTS for ending in _ENDINGS.split())
"""Words with the endings that a stemmer looks at."""


class FrenchAnalyzer:
    """Gives the terms of a text: two texts that differ in case, accents, elisions or endings alone have the same.

    Accents go before the stemmer, so that a word typed without them has the same stem; the endings whose accents the
    stemmer looks at (-ité, -ée, -ière) get theirs back, whether they had any or not. Hyphens separate; an apostrophe
    within a word is left out (aujourd'hui). A number stays whole: "1 500" is 1500, "2,5" is 2.5, and an article like
    "L. 123-4" is found by its letter and number together as well as by the number. Safe to use from any thread.

    :param stop_words: Words to leave out, in any form; `()` keeps all words.
    :raises MissingDependencyError: If PyStemmer is not installed.
    """

    def __init__(self, stop_words: Collection[str] = FRENCH_STOP_WORDS) -> None:
        self.stop_words = frozenset(word for entry in stop_words for word in split(without_accents(plain(entry))))
        self._stemmer = load_stemmer()
        self._one_at_a_time = threading.Lock()
        self._stem = lru_cache(maxsize=_REMEMBERED_WORDS)(self._stemmed)

    def __call__(self, text: str) -> list[str]:
        """Give the terms of `text` in order, with repetitions.

        :raises SettingsError: If it is not a string.
        """
        if not isinstance(text, str):
            raise SettingsError(f"a text to analyse must be a string, got {type(text).__name__}")
        return [self._stem(word) for word in split(without_accents(plain(text))) if word not in self.stop_words]

    def fingerprint(self) -> str:
        """Give a checksum that differs where terms do: by the stop words, or by another version of the stemmer."""
        terms = [*self(_PROBE), "", *sorted(self.stop_words)]
        return hashlib.sha256("\n".join(terms).encode()).hexdigest()

    def _stemmed(self, word: str) -> str:
        with self._one_at_a_time:
            return without_accents(self._stemmer.stemWord(restore_ending(word)))


def plain(text: str) -> str:
    """Give `text` in compatibility form and lower case, with straight apostrophes and without ligatures."""
    return unicodedata.normalize("NFKC", text.translate(_BEFORE_NFKC)).casefold().translate(_LIGATURES)


def without_accents(text: str) -> str:
    """Give `text` without the marks over and under its Latin letters."""
    return text if text.isascii() else _ACCENT.sub("", unicodedata.normalize("NFD", text))


def split(text: str) -> list[str]:
    """Give the words and numbers of a text that went through `plain`; elided words are left out."""
    text = _INNER_APOSTROPHE.sub("", _ELISION.sub(" ", text))
    text = _GROUPED_DIGITS.sub(lambda number: number[0].replace(" ", ""), text)
    text = _ARTICLE.sub(r"\1\2 \2", _NUMBER_SIGN.sub(" ", text))
    return [word.replace(",", ".") for word in _WORD.findall(text)]


def restore_ending(word: str) -> str:
    """Put accents where the stemmer looks for them: in -ité, -ée, -ière and their plurals."""
    return _GRAVE_ENDING.sub("è", _ACUTE_ENDING.sub("é", word))


def load_stemmer() -> Stemmer:
    """Give a Snowball stemmer for French; not for several threads at once.

    :raises MissingDependencyError: If PyStemmer is not installed.
    """
    try:
        from Stemmer import Stemmer
    except ImportError as error:
        raise MissingDependencyError("BM25 needs PyStemmer: pip install 'fr-reranker-plugin[faiss]'") from error
    return Stemmer("french")
