"""Which files have a word, and where: in their name, their caption, their folder, a chunk of their text.

Of a word that few files have, all of them are known; of a frequent one only how many have it: reading 100,000 rows
takes 50 ms, and such a word says little about which file is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import basename, join

from mmsearch.store.reader import Reader, marks
from mmsearch.store.words import Bag, phrase_of

RARE = 2000
"""Up to so many rows of a word are read."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with a word in its path: its root, its path below it, and how many files lie right in it."""

    root_id: int
    root: bytes
    path: bytes
    files: int

    @property
    def absolute(self) -> bytes:
        return join(self.root, self.path) if self.path else self.root


@dataclass(frozen=True, slots=True)
class Posting:
    """Where a word stands. Where more than ``RARE`` rows have it, ``items`` or ``segments`` are some of them."""

    files: int
    """How many files have it anywhere; chunks of text count up to the number of files."""
    items: frozenset[int]
    """By their name or caption."""
    all_items: bool
    segments: dict[int, int]
    """By their text: segment to item."""
    all_segments: bool
    folders: tuple[Folder, ...]


def count_files(reader: Reader) -> int:
    """How many files the library knows, remembered: each question asks it several times."""
    sql = "SELECT coalesce(sum(files), 0) FROM folder"
    return reader.remembered(("files",), lambda: int(reader.query(sql)[0][0]))


def posting(reader: Reader, term: str, facts: bool = False) -> Posting:
    """Where a term of `words.telling` stands, remembered; with ``facts``, camera and date count as a name does."""
    known: dict[tuple[str, bool], Posting] = reader.remembered(("postings",), dict)
    if (term, facts) not in known:
        known[term, facts] = _posting(reader, term, facts)
    return known[term, facts]


def _posting(reader: Reader, term: str, facts: bool) -> Posting:
    phrase = phrase_of(term)
    own = "{name caption facts}" if facts else "{name caption}"
    items = reader.query(_ITEMS, (f"{own} : {phrase}", RARE + 1))
    segments = reader.query(_SEGMENTS, (phrase, RARE + 1))
    folders = _folders(reader, term, phrase)
    files = reader.query(_COUNT_ITEMS, (f"{own[:-1]} folder}} : {phrase}",))[0][0]
    texts = (
        len({item for _, item in segments}) if len(segments) <= RARE else reader.query(_COUNT_TEXTS, (phrase,))[0][0]
    )
    return Posting(
        min(files + texts, count_files(reader)),
        frozenset(row[0] for row in items),
        len(items) <= RARE,
        dict(segments),
        len(segments) <= RARE,
        folders,
    )


def _folders(reader: Reader, term: str, phrase: str) -> tuple[Folder, ...]:
    roots = dict(reader.roots())
    found = [Folder(root_id, roots[root_id], path, files) for root_id, path, files in reader.query(_FOLDERS, (phrase,))]
    # The name of an indexed folder itself stands in no row: `index ./Italy` is meant by "Italy" all the same.
    for root_id, root in roots.items():
        if term in Bag(basename(root).decode(errors="replace")):
            rows = reader.query("SELECT path, files FROM folder WHERE root_id = ?", (root_id,))
            found += [Folder(root_id, root, path, files) for path, files in rows]
    return tuple({(folder.root_id, folder.path): folder for folder in found}.values())


def items_below(reader: Reader, folders: Sequence[Folder], most: int) -> list[int]:
    """The items right in these folders, at most ``most``."""
    found: list[int] = []
    for folder in folders:
        start = folder.path + b"/" if folder.path else b""
        rows = reader.query(
            _BELOW, (folder.root_id, start, start[:-1] + b"0" if start else b"\xff" * 8, most - len(found))
        )
        found += [row[0] for row in rows]
        if len(found) >= most:
            break
    return found


def segments_of(reader: Reader, items: Sequence[int], of_one: int) -> list[tuple[int, int, str]]:
    """The segments of items, the first ``of_one`` of each: its id, its item's, its modality."""
    found: list[tuple[int, int, str]] = []
    for start in range(0, len(items), 1000):
        some = items[start : start + 1000]
        rows = reader.query(
            f"SELECT id, item_id, modality FROM segment WHERE item_id IN ({marks(some)}) ORDER BY item_id, id", some
        )
        last, taken = 0, 0
        for segment_id, item_id, modality in rows:
            last, taken = item_id, taken + 1 if item_id == last else 0
            if taken < of_one:
                found.append((segment_id, item_id, modality))
    return found


_ITEMS = "SELECT rowid FROM item_text WHERE item_text MATCH ? LIMIT ?"
_SEGMENTS = """
SELECT s.id, s.item_id FROM (SELECT rowid FROM segment_text WHERE segment_text MATCH ? LIMIT ?) t
JOIN segment s ON s.id = t.rowid
"""
_FOLDERS = """
SELECT f.root_id, f.path, f.files FROM folder_text t JOIN folder f ON f.id = t.rowid WHERE folder_text MATCH ?
"""
_COUNT_ITEMS = "SELECT count(*) FROM item_text WHERE item_text MATCH ?"
_COUNT_TEXTS = "SELECT count(*) FROM segment_text WHERE segment_text MATCH ?"
_BELOW = "SELECT id FROM item WHERE root_id = ? AND path >= ? AND path < ? LIMIT ?"
