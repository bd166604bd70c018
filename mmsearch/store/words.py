"""What can be found by the letter: names, folders, captions, text, camera and date, as FTS5 sees them.

FTS5's tokenizer `unicode61` cuts at everything that is no letter or digit and ignores case and accents. Chinese and
Japanese write no spaces, so it takes a whole clause for one word; `trigram` finds nothing shorter than three
characters, and most Chinese words have two. So each such character is set apart as a word of its own, in what is
stored and in what is asked, and a word of several is a phrase: any word inside a sentence is found, exactly.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence

TOKENIZER = "unicode61 remove_diacritics 2"
TABLES = (
    (
        "item_text",
        "name, folder, caption, facts",
        "SELECT id, words(file_name(path)), words(folder_name(path)), words(caption), words(camera, taken) FROM item",
    ),
    ("segment_text", "text", "SELECT id, words(text) FROM segment WHERE text IS NOT NULL"),
    ("folder_text", "path", "SELECT id, words(path) FROM folder"),
)
"""The full-text tables, their columns, and what they hold, as the migration that made them says."""

_UNSPACED = "\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CHARACTER = re.compile(f"[{_UNSPACED}]")
_MARKS = "\u0300-\u036f\u0900-\u0903\u093a-\u094f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
"""Marks that stand inside words: accents that did not compose, Indic and Thai vowels."""
_RUN = re.compile(f"[{_UNSPACED}]+|(?:(?![{_UNSPACED}_])[\\w{_MARKS}])+")
_QUOTED = re.compile(r'"([^"]*)"|“([^”]*)”|「([^」]*)」')

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


def file_name(path: bytes | str) -> bytes:
    """The last part of a path. Made known to SQLite, which in a damaged row finds text where bytes were."""
    return _bytes(path).rpartition(b"/")[2]


def folder_name(path: bytes | str) -> bytes:
    """What stands before the last part of a path; empty for none. Made known to SQLite."""
    return _bytes(path).rpartition(b"/")[0]


def _bytes(path: bytes | str) -> bytes:
    return path if isinstance(path, bytes) else str(path).encode(errors="surrogateescape")


FUNCTIONS: dict[str, Callable[..., str | bytes | None]] = {
    function.__name__: function for function in (words, file_name, folder_name)
}
"""What the triggers of the full-text tables call: a connection that writes must know them."""


def _spaced(text: str) -> str:
    return _CHARACTER.sub(r" \g<0> ", unicodedata.normalize("NFKC", text))


def split_quoted(text: str) -> tuple[str, list[str]]:
    """The text without quotation marks, and what stood between them."""
    quoted = [next(filter(None, found.groups()), "") for found in _QUOTED.finditer(text)]
    plain = _QUOTED.sub(lambda found: next(filter(None, found.groups()), ""), text)
    return plain, [phrase for phrase in quoted if phrase.strip()]


def all_of(phrases: Sequence[str]) -> str:
    """An FTS5 expression: every phrase occurs, word by word as it stands; empty if none has a letter or digit."""
    return " AND ".join(phrase_of(phrase) for phrase in phrases if _says_something(phrase))


def telling(text: str) -> list[str]:
    """The terms of a question that tell which file is meant: its runs of letters and digits.

    Unspaced writing is cut into overlapping pairs of characters, as its words mostly have two. Words of grammar tell
    something only where there are no others: "The Who".
    """
    terms = [term for run in _RUN.findall(folded(text)) for term in _terms(run) if _says_something(term)]
    return list(dict.fromkeys([term for term in terms if term not in _TOO_COMMON] or terms))


def without(text: str, terms: Collection[str]) -> str:
    """The text without these terms of it; of unspaced writing, without every character of them."""

    def left(found: re.Match[str]) -> str:
        run = found[0]
        if not _CHARACTER.match(run):
            return " " if folded(run) in terms else run
        kept = [run[i : i + 1] not in terms for i in range(len(run))]
        for i in range(len(run) - 1):
            if run[i : i + 2] in terms:
                kept[i] = kept[i + 1] = False
        return "".join(character if keep else " " for character, keep in zip(run, kept, strict=True))

    return " ".join(_RUN.sub(left, unicodedata.normalize("NFKC", text)).split())


def folded(text: str) -> str:
    """Without case, accents and variants of writing, as the full-text tables compare words."""
    spread = unicodedata.normalize("NFKD", text.lower())
    bare = "".join(character for character in spread if not unicodedata.combining(character))
    return unicodedata.normalize("NFKC", bare)


class Bag:
    """The words of a text, to ask whether a term of `telling` is among them."""

    def __init__(self, text: str) -> None:
        self._text = folded(text)
        self._runs = frozenset(_RUN.findall(self._text))

    def __contains__(self, term: object) -> bool:
        return term in self._runs or (bool(_CHARACTER.match(str(term))) and str(term) in self._text)


def _terms(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(max(1, len(run) - 1))] if _CHARACTER.match(run) else [run]


def _says_something(text: str) -> bool:
    return any(character.isalnum() for character in text)


def phrase_of(text: str) -> str:
    """An FTS5 expression: the words of a text follow each other."""
    return '"' + _spaced(text).replace('"', " ").replace("\0", " ") + '"'
