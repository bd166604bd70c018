"""CLIP's byte-pair tokenizer over mapped tables: nothing is unpacked, a question looks up a few pairs.

The reference is open_clip's ``SimpleTokenizer`` (Sennrich et al., ACL 2016, on bytes): a text is cleaned and cut into
words, a word into bytes, and the pair that was learned first is merged until none is left. A merge is the number of
its left piece times 65,536 plus that of its right one; tables hold these sorted.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mmsearch.errors import MissingExtra

LEFT = np.uint32(1 << 16)
_NONE = 0xFFFFFFFF
_CONTRACTION = re.compile(r"'(?:s|t|re|ve|m|ll|d)", re.IGNORECASE)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class ClipTokenizer:
    """``encode`` gives the ids of a text between its start and its end mark, at most ``longest`` in all.

    All tables are uint32. ``singles`` ``(512,)``: the id of each byte inside a word, then at a word's end. ``merges``,
    sorted, with the rank ``ranks`` of each; ``results`` is the id of the merged piece, by rank. ``marks``: the
    start mark, the end mark, and any others, with their ids.
    """

    def __init__(
        self,
        tables: dict[str, npt.NDArray[np.uint32]],
        marks: dict[str, int],
        clean: str,
        longest: int,
    ) -> None:
        self._singles, self._merges, self._ranks = tables["singles"], tables["merges"], tables["ranks"]
        self._results = tables["results"]
        self._marks, self._clean, self._longest = marks, clean, longest
        self._start, self._end = list(marks.values())[:2]
        self._special = re.compile("|".join(map(re.escape, marks)), re.IGNORECASE)

    def encode(self, text: str) -> list[int]:
        ids = [self._start]
        for word in self._words(clean(text, self._clean)):
            ids.extend(self._pieces(word))
            if len(ids) >= self._longest:
                break
        ids = [*ids[: self._longest - 1], self._end]
        return ids[: ids.index(self._end) + 1]  # the text itself may name the end mark

    def _words(self, text: str) -> Iterator[str]:
        """Marks, contractions, runs of letters, single digits, runs of anything else but space."""
        start = 0
        while start < len(text):
            found = self._special.match(text, start) or _CONTRACTION.match(text, start)
            kind = _kind(text[start])
            stop = start + 1
            if found:
                stop = found.end()
            elif kind in "L*":
                while stop < len(text) and _kind(text[stop]) == kind:
                    stop += 1
            if kind != " ":
                yield text[start:stop]
            start = stop

    def _pieces(self, word: str) -> list[int]:
        if word in self._marks:
            return [self._marks[word]]
        data = word.encode("utf-8", "replace")
        ids = [int(self._singles[byte]) for byte in data[:-1]] + [int(self._singles[256 + data[-1]])]
        while len(ids) > 1:
            ranks = self._find(np.array(ids[:-1], np.uint32) * LEFT + np.array(ids[1:], np.uint32))
            best = int(ranks.min())
            if best == _NONE:
                break
            ids = _merge(ids, np.flatnonzero(ranks == best).tolist(), int(self._results[best]))
        return ids

    def _find(self, pairs: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        """The rank of each pair, ``_NONE`` for a pair that was not learned."""
        places = np.searchsorted(self._merges, pairs).clip(max=len(self._merges) - 1)
        return np.where(self._merges[places] == pairs, self._ranks[places], np.uint32(_NONE))


def _merge(ids: list[int], places: list[int], merged: int) -> list[int]:
    """One piece instead of the two from each place on; of overlapping pairs, the left one."""
    out: list[int] = []
    done = 0
    for place in places:
        if place >= done:
            out += [*ids[done:place], merged]
            done = place + 2
    return out + ids[done:]


def _kind(character: str) -> str:
    """``L`` a letter, ``N`` a digit or other number, a space, or ``*`` anything else."""
    if character.isspace():
        return " "
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "*"


def clean(text: str, how: str) -> str:
    """What open_clip's tokenizers do to a text first: ``lower``, ``whitespace`` or ``canonicalize``."""
    if not (text.isascii() and text.isprintable()) or "&" in text:
        text = _repaired(text)
    if how == "canonicalize":
        text = text.strip().replace("_", " ").translate(_NO_PUNCTUATION).lower()
    text = " ".join(text.split())
    return text.lower() if how == "lower" else text


def _repaired(text: str) -> str:
    """Mojibake and HTML entities undone. Plain ASCII never needs it, and so never imports this."""
    import html

    try:
        import ftfy
    except ImportError:
        raise MissingExtra("a question of this model in other than ASCII letters", "clip") from None
    return html.unescape(html.unescape(ftfy.fix_text(text)))
