"""CSV and JSON to passages: one for each row or object, of the words in it; numbers, keys and settings say nothing."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator

from mmsearch.errors import Rejected
from mmsearch.media.text_chunks import Passage
from mmsearch.media.text_decode import clean

MAX_CELL = 1024 * 1024
"""Characters of a cell: more means that a quotation mark was never closed."""

MAX_CELLS = 2_000
"""Cells of a row whose words are read; a table with more columns is no text."""

_WORDS = re.compile(r"[^\W\d_]")
# A sentence, or part of one: three words, or five characters of a writing without spaces. Names, paths and settings are
# shorter, which keeps the configuration of programs out.
_PROSE = re.compile(r"(?:[^\W\d_]{2,}[^\w\s]?\s+[^\n]*?){2}[^\W\d_]{2,}|[\u3040-\u30ff\u3400-\u9fff]{5}")
# Linear: a string that is never closed runs to the end once, and nothing after it is a string.
_JSON = re.compile(r'[{}]|"((?:[^"\\]|\\.)*+)("|\\?\Z)(\s*+:)?', re.DOTALL)


def table(text: str, delimiter: str = ",") -> Iterator[Passage]:
    """A passage for each row with words in it: the cells that have any, a line each. Raises ``Rejected``."""
    csv.field_size_limit(MAX_CELL)
    position, start = 0, 0

    def lines() -> Iterator[str]:
        nonlocal position
        for line in re.finditer(r"[^\n]*\n?", text):
            position = line.end()
            yield line[0]

    try:
        for row in csv.reader(lines(), delimiter=delimiter):
            cells = [cell.strip() for cell in row[:MAX_CELLS] if _WORDS.search(cell)]
            if cells and position > start:
                yield Passage("\n".join(cells), ((0, start),), position)
            start = position
    except csv.Error as error:
        raise Rejected(f"broken CSV: {error}") from error


def objects(text: str) -> Iterator[Passage]:
    """A passage for each object's strings that are sentences. Broken JSON is read as far as its strings go."""
    strings: list[str] = []
    places: list[tuple[int, int]] = []
    length = end = 0
    for token in _JSON.finditer(text):
        if token[1] is None:
            if strings:
                yield Passage("\n\n".join(strings), tuple(places), end)
            strings, places, length = [], [], 0
        elif token[3] is None and _PROSE.search(value := _unescaped(token[1])):
            strings.append(value)
            places.append((length, token.start(1)))
            length += len(value) + 2
            end = token.end(1)
    if strings:
        yield Passage("\n\n".join(strings), tuple(places), end)


def lines(text: str) -> Iterator[Passage]:
    """As `objects`, but no passage spans two lines."""
    start = 0
    for line in text.split("\n"):
        for passage in objects(line):
            places = tuple((here, start + there) for here, there in passage.places)
            yield Passage(passage.text, places, start + passage.end)
        start += len(line) + 1


def _unescaped(literal: str) -> str:
    if "\\" not in literal:
        return literal
    try:
        return clean(str(json.loads(f'"{literal}"', strict=False)))
    except ValueError:
        return literal
