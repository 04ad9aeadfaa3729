"""French text in passages that a bi-encoder can read: whole sentences, under the headings that they stand under."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from fr_reranker_plugin.scoring.settings import check_whole_number

_ABBREVIATIONS: Final = (
    "M MM Mme Mmes Mlle Dr Me Mgr Pr St Ste art al av apr cf chap ch env etc ex fig hab max min n no p pp par ref réf "
    "resp s sq t tél vol bd janv févr avr juil sept oct nov déc"
)
_NOT_AN_END: Final = frozenset(_ABBREVIATIONS.casefold().split())
_LONGEST: Final = max(map(len, _NOT_AN_END))

# Each repetition gives nothing back and starts at its first character only, so that long runs are read once.
_SENTENCE_END: Final = re.compile(
    r"(?<![.!?…])[.!?…]++(?:\s?»|[\"'”’)\]])*+\s++(?=(?:[\"'«“‘(\[]\s*+)?[^\W_a-zà-öø-ÿ])"
)
_LAST_WORD: Final = re.compile(r"[^\W\d_]+$")
_HEADING: Final = re.compile(r"(#{1,6})[ \t]+(\S.*)")
_CLOSING_MARKS: Final = re.compile(r"(?<![^ \t])#+$")
_FENCE: Final = re.compile(r" {0,3}(`{3,}+(?!.*`)|~{3,}+)(.*)")
_PARAGRAPH_END: Final = re.compile(r"\n[ \t]*\n\s*")


def split_sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a French text, without the space around them.

    A full stop after an abbreviation (M., art., av.) or a single letter (J. Moulin) ends none, nor does one that no
    capital, digit or quotation mark follows.
    """
    start = 0
    for end in _SENTENCE_END.finditer(text):
        word = _LAST_WORD.search(text, max(start, end.start() - _LONGEST - 1), end.start())
        abbreviated = end[0].lstrip().startswith(".") and not end[0].startswith(("..", ".»"))
        if word and abbreviated and (len(word[0]) == 1 or word[0].casefold() in _NOT_AN_END):
            continue
        if sentence := text[start : end.end()].strip():
            yield sentence
        start = end.end()
    if rest := text[start:].strip():
        yield rest


def split_passages(text: str, *, words: int = 120) -> Iterator[str]:
    """Yield passages of at most `words` words, which end where a paragraph or a sentence does.

    Short paragraphs are put together, unless a Markdown heading stands between them. The headings that a section stands
    under, from the title of the text down, open each of its passages, each on a line of its own; their words are not
    counted. What looks like a heading in a block of code is none. A sentence that is longer than `words` is cut.

    :raises SettingsError: If `words` is below 10.
    """
    check_whole_number("words", words, at_least=10)
    for headings, body in _sections(text):
        for passage in _packed(body, words):
            yield "\n".join(filter(None, [*headings, passage]))


def _sections(text: str) -> Iterator[tuple[list[str], str]]:
    """Yield the headings that each section stands under, the highest first, with what stands there."""
    headings: dict[int, str] = {}
    body: list[str] = []
    for line, is_code in _lines(text):
        heading = None if is_code else _HEADING.fullmatch(line)
        if heading is None:
            body.append(line)
            continue
        yield list(headings.values()), "\n".join(body)
        level, body = len(heading[1]), []
        headings = {above: title for above, title in headings.items() if above < level}
        headings[level] = _CLOSING_MARKS.sub("", heading[2].rstrip()).rstrip()
    yield list(headings.values()), "\n".join(body)


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the lines, and whether they belong to a block of code between fences of ``` or ~~~."""
    fence = ""
    for line in text.replace("\r\n", "\n").split("\n"):
        mark = _FENCE.fullmatch(line)
        yield line, bool(fence or mark)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and not mark[2].strip():
            fence = ""


def _packed(body: str, words: int) -> Iterator[str]:
    """Yield the paragraphs of a section, put together or cut up to the size asked for."""
    waiting: list[str] = []
    size = 0
    for paragraph in _PARAGRAPH_END.split(body.strip()):
        pieces = [paragraph] if len(paragraph.split()) <= words else _cut(paragraph, words)
        for piece in pieces:
            length = len(piece.split())
            if waiting and size + length > words:
                yield "\n".join(waiting)
                waiting, size = [], 0
            if length:
                waiting.append(" ".join(piece.split()))
                size += length
    if waiting:
        yield "\n".join(waiting)


def _cut(paragraph: str, words: int) -> Iterator[str]:
    """Yield runs of whole sentences of at most `words` words."""
    run: list[str] = []
    for sentence in split_sentences(paragraph):
        tokens = sentence.split()
        if run and len(run) + len(tokens) > words:
            yield " ".join(run)
            run = []
        run += tokens
        full = (len(run) - 1) // words * words
        yield from (" ".join(run[start : start + words]) for start in range(0, full, words))
        run = run[full:]
    if run:
        yield " ".join(run)
