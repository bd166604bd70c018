"""Words to token ids: WordPiece over a sorted table of pieces that stays in the mapped file.

Text is normalised (NFKC, lower case, accents dropped, punctuation ignored), cut into words, and each word into the
longest pieces that the table has (Schuster and Nakajima, ICASSP 2012); every Chinese character is a word of its own.
Sorting the table makes a piece's row its id, and spares a cold query the building of a dictionary.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import overload

import numpy as np
import numpy.typing as npt

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+")
_LONGEST_WORD = 100
_KEPT = 8192
"""Words whose pieces are remembered: documents repeat theirs, and searching the table takes 20 times as long."""
PAD = b""
CLS, SEP, UNK = b"[CLS]", b"[SEP]", b"[UNK]"


def words(text: str) -> list[str]:
    """Normalised words: ``"Two Dogs, 两只狗"`` -> ``["two", "dogs", "两", "只", "狗"]``."""
    if text.isascii():
        return _WORD.findall(text.lower())
    decomposed = unicodedata.normalize("NFKD", text).lower()
    return _WORD.findall("".join(c for c in decomposed if unicodedata.category(c) != "Mn"))


class PieceTable(Sequence[bytes]):
    """Sorted pieces as one run of UTF-8 bytes, ``pieces`` uint8, with ``ends`` uint32 ``(n,)``."""

    def __init__(self, pieces: npt.NDArray[np.uint8], ends: npt.NDArray[np.uint32]) -> None:
        # Items of a memoryview are plain ints and bytes: cheaper to take one by one than numpy scalars.
        self._pieces, self._ends = pieces.data, ends.data

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, i: int) -> bytes: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[bytes]: ...
    def __getitem__(self, i: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        return bytes(self._pieces[self._ends[i - 1] if i else 0 : self._ends[i]])

    def find(self, piece: bytes) -> int | None:
        """The id of ``piece``, or None."""
        i = bisect_left(self, piece)
        return i if i < len(self) and self[i] == piece else None


class Tokenizer:
    """``encode`` gives the ids of a text, between the marks for its start and end, at most ``longest`` in all."""

    def __init__(self, table: PieceTable, longest: int) -> None:
        self._table, self._longest = table, longest
        self._pieces = lru_cache(_KEPT)(self._cut)
        self._start, self._end, self._unknown = (bisect_left(table, mark) for mark in (CLS, SEP, UNK))

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for word in words(text):
            ids.extend(self._pieces(word))
            if len(ids) >= self._longest - 2:
                break
        return [self._start, *ids[: self._longest - 2], self._end]

    def count(self, text: str) -> int:
        """How many ids a text has with its marks, before it is cut."""
        return 2 + sum(len(self._pieces(word)) for word in words(text))

    def _cut(self, word: str) -> list[int]:
        if len(word) > _LONGEST_WORD:
            return [self._unknown]
        ids: list[int] = []
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            for stop in range(len(word), start, -1):
                found = self._table.find((mark + word[start:stop]).encode())
                if found is not None:
                    break
            else:
                return [self._unknown]
            ids.append(found)
            start = stop
        return ids
