"""What can be found by the letter: names, captions, text, camera and date, as FTS5 sees them.

FTS5's tokenizer `unicode61` cuts at everything that is no letter or digit and ignores case and accents. Chinese and
Japanese write no spaces, so it takes a whole clause for one word; `trigram` finds nothing shorter than three
characters, and most Chinese words have two. So each such character is set apart as a word of its own, in what is
stored and in what is asked, and a word of several is a phrase: any word inside a sentence is found, exactly.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

TOKENIZER = "unicode61 remove_diacritics 2"
TABLES = (
    ("item_text", "name, caption, facts", "SELECT id, words(path), words(caption), words(camera, taken) FROM item"),
    ("segment_text", "text", "SELECT id, words(text) FROM segment WHERE text IS NOT NULL"),
)
"""The full-text tables, their columns, and what they hold, as the migration that made them says."""

_UNSPACED = "\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CHARACTER = re.compile(f"[{_UNSPACED}]")
_RUN = re.compile(f"[{_UNSPACED}]+|[^\\s{_UNSPACED}]+")
_QUOTED = re.compile(r'"([^"]*)"|“([^”]*)”|「([^」]*)」')

_MARKS = ".,;:!?'\"()[]。，、；：！？（）"

_GRAMMAR = """
a an and are as at be but by for from has have he her his i in is it its my of on or our she that the their them there
these they this those to was we were what where which who with you your 的 了 在 是 和 与 或 有 个 一 着 这 那
"""
_TOO_COMMON = frozenset(_GRAMMAR.split())
"""Words that stand in every sentence and say nothing about which file is meant."""


def words(*fields: str | bytes | None) -> str | None:
    """The text to index of some fields; None where all are. Bytes are a file's name. Made known to SQLite."""
    given = [field.decode(errors="replace") if isinstance(field, bytes) else field for field in fields if field]
    return _spaced(" ".join(given)) if given else None


def _spaced(text: str) -> str:
    return _CHARACTER.sub(r" \g<0> ", unicodedata.normalize("NFKC", text))


def split_quoted(text: str) -> tuple[str, list[str]]:
    """The text without quotation marks, and what stood between them."""
    quoted = [next(filter(None, found.groups()), "") for found in _QUOTED.finditer(text)]
    plain = _QUOTED.sub(lambda found: next(filter(None, found.groups()), ""), text)
    return plain, [phrase for phrase in quoted if phrase.strip()]


def all_of(phrases: Sequence[str]) -> str:
    """An FTS5 expression: every phrase occurs, word by word as it stands; empty if none has a letter or digit."""
    return " AND ".join(_phrase(phrase) for phrase in phrases if _says_something(phrase))


def any_of(terms: Sequence[str]) -> str:
    """An FTS5 expression: some of the terms occurs; empty without terms."""
    return " OR ".join(map(_phrase, terms))


def telling(text: str) -> list[str]:
    """The terms of a question that tell which file is meant.

    Unspaced writing is cut into overlapping pairs of characters, as its words mostly have two.
    """
    terms: list[str] = []
    for run in _RUN.findall(unicodedata.normalize("NFKC", text).lower()):
        terms += [run[i : i + 2] for i in range(max(1, len(run) - 1))] if _CHARACTER.match(run) else [run.strip(_MARKS)]
    return [term for term in dict.fromkeys(terms) if term not in _TOO_COMMON and _says_something(term)]


def _says_something(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _phrase(text: str) -> str:
    return '"' + _spaced(text).replace('"', " ").replace("\0", " ") + '"'
