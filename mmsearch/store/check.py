"""Is the library whole? Reads only; what it finds, `repair` mends."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mmsearch.errors import Damaged, UsageError
from mmsearch.store import artifacts
from mmsearch.store.reader import BLOCK, Reader, Space
from mmsearch.store.words import FUNCTIONS, TABLES, TOKENIZER
from mmsearch.types import NORM_TOLERANCE, Embeddings, VectorIndex

LEVELS = ("fast", "data", "deep")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong: a short name for machines, a sentence for people."""

    code: str
    message: str


def check(folder: str, level: str = "fast") -> list[Problem]:
    """What is wrong with a library.

    ``fast``: the catalog's structure, and the sizes of the index files. ``data``: also every sha256, and of every
    vector the crc32, the length, that it is finite and of unit norm. ``deep``: also every vector finds itself.
    """
    if level not in LEVELS:
        raise UsageError(f"no such level: {level} (there are {', '.join(LEVELS)})")
    try:
        reader = Reader(folder)
    except Damaged as error:
        return [Problem("catalog", str(error))]
    try:
        with reader.snapshot():
            return list(_problems(reader, folder, LEVELS.index(level)))
    except (sqlite3.DatabaseError, Damaged) as error:
        return [Problem("catalog", f"the catalog can't be read: {error}")]
    finally:
        reader.close()


def _problems(reader: Reader, folder: str, level: int) -> Iterator[Problem]:
    yield from _catalog_problems(reader)
    for wrong in wrong_words(reader) if level >= 1 else ():
        yield Problem("words", wrong)
    for space in reader.spaces():
        for wrong in artifacts.damaged_indexes(reader, folder, space, read_data=level >= 1):
            yield Problem("artifact", wrong)
        if level >= 1:
            for segment_id, why in bad_vectors(reader, space):
                yield Problem("vector", f"the vector of segment {segment_id} in {space.model} {why}")
        if level >= 2:
            for segment_id in _lost(reader, folder, space):
                yield Problem("lost", f"the vector of segment {segment_id} in {space.model} does not find itself")


def _catalog_problems(reader: Reader) -> Iterator[Problem]:
    for (message,) in reader.query("PRAGMA quick_check"):
        if message != "ok":
            yield Problem("catalog", f"the catalog is damaged: {message}")
    for table, rowid, parent, _ in reader.query("PRAGMA foreign_key_check"):
        yield Problem("catalog", f"row {rowid} of {table} names a row of {parent} that is not there")
    for (path,) in reader.query(_EMPTY_ITEMS):
        yield Problem("empty-item", f"{path!r} is indexed but has no segment")
    if reader.active_space() is None and reader.spaces():
        yield Problem("no-space", "no space is chosen for queries")


def wrong_words(reader: Reader) -> Iterator[str]:
    """Full-text rows that are not what their item or segment says, or that can't be found by it.

    What a table should hold is indexed again in a temporary one, and the terms of both are compared.
    """
    if reader.query("PRAGMA user_version")[0][0] < 3:
        return  # the migration makes them again, with folders apart from names
    for function, body in FUNCTIONS.items():
        reader.define(function, body)
    for table, columns, should in TABLES:
        for name in ("these", "those", "should"):
            reader.query(f"DROP TABLE IF EXISTS temp.{name}")
        reader.query(f"CREATE VIRTUAL TABLE temp.should USING fts5 ({columns}, tokenize = '{TOKENIZER}')")
        reader.query(f"INSERT INTO temp.should (rowid, {columns}) {should}")
        reader.query("CREATE VIRTUAL TABLE temp.these USING fts5vocab (temp, should, instance)")
        reader.query(f"CREATE VIRTUAL TABLE temp.those USING fts5vocab (main, {table}, instance)")
        for one, other in (("these", "those"), ("those", "these")):
            for term, row in reader.query(
                f"SELECT term, doc FROM (SELECT * FROM temp.{one} EXCEPT SELECT * FROM temp.{other}) LIMIT 1"
            ):
                yield f"row {row} of {table} {'lacks' if one == 'these' else 'has'} the word {term!r}"


_EMPTY_ITEMS = """
SELECT i.path FROM item i WHERE i.state IN ('ok', 'partial')
AND NOT EXISTS (SELECT 1 FROM segment s WHERE s.item_id = i.id)
"""


def bad_vectors(reader: Reader, space: Space) -> Iterator[tuple[int, str]]:
    """Segments of a space whose stored vector is not what was written, or not a finite unit row; and why."""
    for rows in reader.raw_vectors(space.id):
        for segment_id, blob, crc32 in rows:
            if zlib.crc32(blob) != crc32:
                yield segment_id, "has the wrong checksum"
            elif len(blob) != 2 * space.dim:
                yield segment_id, f"has {len(blob)} bytes, not {2 * space.dim}"
            # A NaN compares false, so this finds it too.
            elif not abs(float(np.linalg.norm(np.frombuffer(blob, "<f2").astype(np.float32))) - 1) <= NORM_TOLERANCE:
                yield segment_id, "is not a finite unit row"


def _lost(reader: Reader, folder: str, space: Space) -> Iterator[int]:
    """Segments up to the newest index's ``max_seq`` that a search for their own vector does not return."""
    opened = artifacts.open_newest(reader, folder, space)
    if opened.index is not None:
        for block in reader.blocks(space.id, space.dim, upto=opened.max_seq):
            yield from _not_found(opened.index, block)


def _not_found(index: VectorIndex, block: Embeddings) -> Iterator[int]:
    if index.spec.exact:
        # One candidate each: enough to prove that the row is there and holds this vector, and linear in the rows.
        for segment_id, vector in zip(block.ids, block.vectors, strict=True):
            ids, scores = index.search(vector[None], 1, np.array([segment_id])).row(0)
            if len(ids) != 1 or not abs(float(scores[0]) - float(vector @ vector)) < 1e-3:
                yield int(segment_id)
        return
    for start in range(0, len(block), BLOCK // 16):
        some = slice(start, start + BLOCK // 16)
        found = index.search(block.vectors[some], 10 * index.spec.refine)
        for i, segment_id in enumerate(block.ids[some].tolist()):
            if segment_id not in found.row(i)[0]:
                yield segment_id
