"""What the letters of a question say for a file: how much of it stands in its name, caption, folder or text.

A term weighs by its rarity; the coverage of a file is the share of the question's weight that it has. It is added to
what the vectors say, squared, so that half of the words count little and all of them decide:

    score = z + W own^2 + W (all^2 - own^2) clip((z + 1) / 2, 0, 1)

``own`` counts name, caption and text, ``all`` the folder too: what lies in a folder need not show what the folder is
called after, so its part counts as far as the vector agrees. docs/figures/answers.md has the figures.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from mmsearch.store import postings
from mmsearch.store.levels import kind_of
from mmsearch.store.postings import RARE, Folder, Posting
from mmsearch.store.reader import Found, Reader
from mmsearch.store.words import Bag, telling, without
from mmsearch.types import FloatArray, IdArray, Modality

WEIGHT = 8.0
"""Of a full coverage, in spreads: flat from 6 to 16."""
RAREST = 0.01
"""A word that still fewer of all files have says no more than one that so many have."""
TEXT_DOUBT = 0.4
"""How much less a lone word in a chunk of text counts than one in a name; several together are no chance."""
WHOLE_NAME = 4 * WEIGHT
"""For a file whose whole name is the question: above whatever else speaks for others."""
FAINT = 0.5
"""Points that are not worth a look for their own sake."""
OF_ONE = 64
"""Of one file at most so many segments, where its name speaks for all."""


Values: TypeAlias = npt.NDArray[np.float64]
Kinds: TypeAlias = npt.NDArray[np.str_]


class Match(NamedTuple):
    """The terms that speak for a segment, as bits of their numbers: its own, its chunk's, its folder's."""

    own: int
    text: int
    folder: int
    whole: bool = False

    @property
    def speaks(self) -> bool:
        """Whether any term is there."""
        return bool(self.own or self.text or self.folder)


NOTHING = Match(0, 0, 0)


class Evidence:
    """The words of one question, looked up in a library. Without telling words nothing speaks for any file."""

    def __init__(self, reader: Reader, text: str, facts: bool = False) -> None:
        self._reader, self._text = reader, text
        self.terms = telling(text) if reader.format >= 3 else []
        found = [postings.posting(reader, term, facts) for term in self.terms]
        self._found: list[Posting] = found
        files = postings.count_files(reader) if found else 0
        weights = [_rarity(files, posting.files) for posting in found]
        total = sum(weights)
        self._weights = [weight / total for weight in weights] if total > 0 else weights
        self._text_credit = 1 - TEXT_DOUBT / max(1, len(self.terms))
        self._coverages: dict[Match, tuple[float, float]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no term stands anywhere."""
        return not any(posting.files for posting in self._found)

    # -- which files ---------------------------------------------------------------------------------------------

    @cached_property
    def _own(self) -> dict[int, int]:
        """Items to the rare terms in their names and captions."""
        bits: dict[int, int] = {}
        for number, posting in enumerate(self._found):
            for item in posting.items if posting.all_items else ():
                bits[item] = bits.get(item, 0) | 1 << number
        return bits

    @cached_property
    def _texts(self) -> dict[int, int]:
        """Segments to the rare terms in their texts."""
        bits: dict[int, int] = {}
        for number, posting in enumerate(self._found):
            for segment in posting.segments if posting.all_segments else ():
                bits[segment] = bits.get(segment, 0) | 1 << number
        return bits

    @cached_property
    def _folders(self) -> dict[bytes, tuple[int, Folder]]:
        """Absolute paths of folders to the terms in them."""
        bits: dict[bytes, tuple[int, Folder]] = {}
        for number, posting in enumerate(self._found):
            for folder in posting.folders:
                known = bits.get(folder.absolute, (0, folder))[0]
                bits[folder.absolute] = known | 1 << number, folder
        return bits

    @cached_property
    def _narrow(self) -> bool:
        """Whether the files in folders with a term are few enough to look at."""
        return sum(folder.files for _, folder in self._folders.values()) <= RARE

    def candidates(self, frequent: bool = False) -> tuple[IdArray, Values, Kinds, float]:
        """Segments that rare words speak for: ids int64 ``(n,)``, ascending, the points of their words, their kinds.

        Last, the most that words may say for any other file. ``frequent``: some of those with frequent words too,
        where nothing else leads to them.
        """
        folders = self._items_in_folders() if self._narrow or frequent else {}
        items = {item: Match(self._own.get(item, 0), 0, folders.get(item, 0)) for item in {**self._own, **folders}}
        chunks: dict[int, Match] = {}
        for number, posting in enumerate(self._found):
            if frequent and not posting.all_items:
                items.update((item, Match(1 << number, 0, 0)) for item in posting.items if item not in items)
            for segment, item in posting.segments.items() if posting.all_segments or frequent else ():
                chunks[segment] = items.get(item, NOTHING)._replace(text=self._texts.get(segment, 1 << number))
        lifts = {segment: self._most(match) for segment, match in chunks.items()}
        by_item = {item: most for item, match in items.items() if (most := self._most(match)) >= FAINT or frequent}
        kinds: dict[int, Modality] = {}
        for segment, item, modality in postings.segments_of(self._reader, list(by_item), OF_ONE):
            lifts[segment] = max(by_item[item], lifts.get(segment, 0.0))
            kinds[segment] = kind_of(Modality(modality))
        ids = np.array(sorted(lifts), np.int64)
        found = np.array([kinds.get(segment, Modality.TEXT) for segment in ids.tolist()])
        unseen = max(self._lift(self._frequent), FAINT if len(by_item) < len(items) else 0.0)
        return ids, np.array([lifts[segment] for segment in ids.tolist()], np.float64), found, unseen

    def _items_in_folders(self) -> dict[int, int]:
        """Items to the terms in their folders' paths."""
        bits: dict[int, int] = {}
        for terms, folder in self._folders.values():
            for item in postings.items_below(self._reader, [folder], RARE):
                bits[item] = bits.get(item, 0) | terms
        return bits

    @cached_property
    def _frequent(self) -> Match:
        """The terms that files may have that are not among the candidates."""
        own = sum(1 << n for n, posting in enumerate(self._found) if not posting.all_items)
        text = sum(1 << n for n, posting in enumerate(self._found) if not posting.all_segments)
        folder = 0
        if not self._narrow:
            for bits, _ in self._folders.values():
                folder |= bits
        return Match(own, text, folder)

    # -- what speaks for one --------------------------------------------------------------------------------------

    def match(self, found: Found) -> Match:
        """What speaks for a segment."""
        own, text = self._own.get(found.item_id, 0), self._texts.get(found.segment_id, 0)
        if self._frequent.own:
            bag = Bag(f"{_name(found)} {found.caption or ''}")
            own |= self._among(bag, self._frequent.own)
        if self._frequent.text and found.text:
            text |= self._among(Bag(found.text), self._frequent.text)
        folder = self._folders.get(os.path.dirname(found.path), (0, None))[0] if self._folders else 0
        return Match(own, text, folder, self._is_whole_name(found, own))

    def _among(self, bag: Bag, bits: int) -> int:
        return sum(1 << n for n, term in enumerate(self.terms) if bits >> n & 1 and term in bag)

    def _is_whole_name(self, found: Found, own: int) -> bool:
        if own != (1 << len(self.terms)) - 1 or not own:
            return False
        name = _name(found)
        return telling(self._text) in (telling(name), telling(os.path.splitext(name)[0]))

    def where(self, found: Found) -> tuple[tuple[str, str], ...]:
        """Each term that speaks for a segment, with the place it stands in: name, caption, text or folder."""
        places = {
            "name": Bag(_name(found)),
            "caption": Bag(found.caption or ""),
            "text": Bag(found.text or ""),
            "folder": Bag(os.path.dirname(found.path).decode(errors="replace")),
        }
        matched = self.match(found)
        bits = matched.own | matched.text | matched.folder
        there = [term for n, term in enumerate(self.terms) if bits >> n & 1]
        return tuple((term, next((place for place, bag in places.items() if term in bag), "facts")) for term in there)

    # -- how much it says -----------------------------------------------------------------------------------------

    def coverage(self, match: Match) -> tuple[float, float]:
        """The share of the question that stands in name, caption and text, and in these or the folder; 0 to 1."""
        if match not in self._coverages:
            own = everything = 0.0
            for n, weight in enumerate(self._weights):
                bit = 1 << n
                mine = 1.0 if match.own & bit else self._text_credit if match.text & bit else 0.0
                own += weight * mine
                everything += weight * (1.0 if match.folder & bit else mine)
            self._coverages[match] = own, everything
        return self._coverages[match]

    def has_all(self, match: Match) -> bool:
        """Whether every term stands in name, caption or text."""
        return match.own | match.text == (1 << len(self.terms)) - 1 and bool(self.terms)

    def _lift(self, match: Match) -> float:
        return WEIGHT * self.coverage(match)[1] ** 2

    def _most(self, match: Match) -> float:
        whole = self.terms and match.own == (1 << len(self.terms)) - 1
        return self._lift(match) + (WHOLE_NAME if whole else 0.0)

    def points(self, matches: Iterable[Match], z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What own words and what folders add to scores of ``z``, each float32 ``(n,)``."""
        rows = [(*self.coverage(match), match.whole) for match in matches]
        table: FloatArray = np.array(rows, np.float32).reshape(-1, 3)
        own, everything, whole = table.T
        mine: FloatArray = WEIGHT * own**2 + WHOLE_NAME * whole
        folder: FloatArray = WEIGHT * (everything**2 - own**2) * np.clip((z + 1) / 2, 0, 1)
        return mine, folder

    # -- the question without a folder's words --------------------------------------------------------------------

    def rests(self) -> dict[int, str]:
        """By the terms of folders: what is left of the question without them; only where telling words are left."""
        rests: dict[int, str] = {}
        for bits, _ in self._folders.values():
            rest = without(self._text, {term for n, term in enumerate(self.terms) if bits >> n & 1})
            if telling(rest):
                rests[bits] = rest
        return rests

    @property
    def wide_folders(self) -> bool:
        """Whether folders have a term, but too many files to look at each."""
        return not self._narrow


def _rarity(files: int, having: float) -> float:
    """The square root of a word's inverse document frequency (as Lucene has it).

    As it is, a word that no file has would drown those that some have: what is asked by meaning need not be written.
    """
    having = max(having, RAREST * files)
    return math.sqrt(math.log(1 + (files - having + 0.5) / (having + 0.5)))


def _name(found: Found) -> str:
    return os.path.basename(found.path).decode(errors="replace")
