"""Text is cut into chunks that an encoder reads whole: by paragraphs, then by sentences, and only then by words.

A model cuts off silently what is longer than it reads, so nothing longer is given to it. How many tokens a chunk has is
estimated here, from its letters alone; `text_fit` asks the encoder.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from mmsearch.media.pieces import Piece
from mmsearch.types import Detail, EncoderSpec, Modality, Span

ASSUMED = 64
"""Tokens that an encoder reads if its spec does not say: SigLIP's limit, the smallest of the common ones (CLIP: 77)."""

SHARE, LONGEST = 3, 128
"""A chunk has a third of the tokens that an encoder reads, and never more than this: it should speak of one thing.

With `mini` the right text of 40 is found 62 times in 100 by chunks of 24 tokens, 31 times by chunks of 62.
"""

SHORT = 8
"""A paragraph of fewer tokens, a heading for instance, goes with what follows."""

_HAN = "\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
_UNIT = re.compile(rf"[{_HAN}]|[A-Za-z\u00c0-\u024f]+|\d|[^\W\d_]|[^\w\s]|_")
_COSTLY = re.compile(rf"[{_HAN}]|\d|[^\w\s]|_|(?![A-Za-z\u00c0-\u024f])[^\W\d_]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]+")
_LETTERS = 5
"""Letters of a Latin word that a token stands for, at least: in English prose the shortest words have one token."""
# Both are linear on any text: neither can begin again inside of what it has run over.
_PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*|\f\s*")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]{0,3}\s+|(?<=[。！？；])[”’」』）]{0,3}\s*")
_SAYS_SOMETHING = re.compile(r"[^\W_]")


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of text that chunks do not cross the ends of, and where in its file it stands.

    ``places``: pairs (offset in ``text``, offset in the file's characters), ascending; between them one character
    stands for one. ``end`` is where the passage ends in the file.
    """

    text: str
    places: tuple[tuple[int, int], ...]
    end: int
    page: int | None = None

    def span(self, start: int, end: int) -> Span:
        """Where in the file these characters of ``text`` stand."""
        return Span(self._at(start), min(self._at(end - 1) + 1, self.end), "char")

    def _at(self, offset: int) -> int:
        here, there = self.places[bisect_right(self.places, (offset, self.end)) - 1]
        return min(there + offset - here, self.end - 1)


def limit_of(spec: EncoderSpec) -> int:
    """Tokens of a chunk for this encoder."""
    return min((spec.text_tokens or ASSUMED) // SHARE, LONGEST)


def cost(text: str) -> int:
    """Tokens of a text, estimated so that most tokenizers need fewer: Chinese by the character, Latin by the word."""
    return len(_COSTLY.findall(text)) + sum(1 + (len(word) - 1) // _LETTERS for word in _LATIN.findall(text))


def cut(text: str, limit: int) -> Iterator[tuple[int, int]]:
    """Chunks of a text as (start, end), in order, none of more than ``limit`` estimated tokens."""
    held: tuple[int, int, int] | None = None  # start, end, tokens of a short paragraph that waits
    for begin, end in _stretches(text, 0, len(text), _PARAGRAPH_END):
        if not _SAYS_SOMETHING.search(text, begin, end):
            continue
        start, tokens = begin, _tokens(text, begin, end, limit)
        if held is not None and held[2] + tokens <= limit:
            start, tokens = held[0], held[2] + tokens
        elif held is not None:
            yield held[:2]
        held = (start, end, tokens) if tokens < min(SHORT, limit) else None
        if held is None:
            yield from [(start, end)] if tokens <= limit else _packed(text, start, end, limit)
    if held is not None:
        yield held[:2]


def chunks(passage: Passage, spec: EncoderSpec) -> Iterator[Piece]:
    """The chunks of a passage, as an encoder takes them."""
    for start, end in cut(passage.text, limit_of(spec)):
        if _SAYS_SOMETHING.search(passage.text, start, end):
            text = passage.text[start:end]
            yield Piece(text, Modality.TEXT, passage.span(start, end), Detail(None, text, passage.page))


def _tokens(text: str, start: int, end: int, limit: int) -> int:
    """The cost of some characters, or more than ``limit`` for so many that they are better cut than counted."""
    return cost(text[start:end]) if end - start <= 16 * limit else limit + 1


def _packed(text: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    """A paragraph that is too long: as many whole sentences a chunk as fit."""
    first, last, used = start, start, 0
    for sentence, stop in _stretches(text, start, end, _SENTENCE_END):
        tokens = _tokens(text, sentence, stop, limit)
        if used and used + tokens > limit:
            yield first, last
            used = 0
        if tokens > limit:
            yield from _by_words(text, sentence, stop, limit)
            continue
        first, last, used = (first if used else sentence), stop, used + tokens
    if used:
        yield first, last


def _by_words(text: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    """A sentence that is too long, or what has no sentences: as many words as fit; a word that doesn't, in parts."""
    first, used = start, 0
    for unit in _UNIT.finditer(text, start, end):
        for at in range(unit.start(), unit.end(), limit * _LETTERS):
            tokens = 1 + (min(unit.end() - at, limit * _LETTERS) - 1) // _LETTERS
            if used and used + tokens > limit:
                yield first, first + len(text[first:at].rstrip())
                first, used = at, 0
            used += tokens
    if used:
        yield first, end


def _stretches(text: str, start: int, end: int, ends: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """What lies between matches of ``ends``, without white space around it; empty ones are left out."""
    for stop in chain((match.end() for match in ends.finditer(text, start, end)), [end]):
        part = text[start:stop]
        if kept := part.strip():
            begin = start + len(part) - len(part.lstrip())
            yield begin, begin + len(kept)
        start = stop
